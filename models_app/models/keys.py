"""API keys."""

from __future__ import annotations

from django.db import models


class ApiKey(models.Model):
    """A key is `noa_<key_id>_<secret>`. Only the SHA-256 of the whole is stored; the key is shown once."""

    key_id = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    # Names that may be asked for through the gateway: routes, model keys, and `<provider>:*`. Empty is all.
    allowed_models = models.JSONField(default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"
