"""Failed log-ins that still count."""

from __future__ import annotations

from django.db import models


class LogInTally(models.Model):
    """The failed log-ins of one user, one address, or one user from one address.

    Written by `models_app.services.log_ins.brake`, which bounds the number of rows.
    """

    # A keyed digest: what was typed as a user name can be a password.
    subject = models.CharField(max_length=64, unique=True)
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    # When this user last logged in from this address.
    known_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "log-in tallies"

    def __str__(self) -> str:
        return f"{self.subject[:8]}: {self.failures}"
