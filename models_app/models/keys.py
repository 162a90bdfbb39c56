"""API keys."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        """Keys that are neither revoked nor expired."""
        alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(alive, revoked_at=None)


class ApiKey(models.Model):
    """A key is `noa_<key_id>_<secret>`. Only the SHA-256 of the whole is stored; the key is shown once."""

    key_id = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    # Names that it can request through the gateway: routes, model keys, and `<provider>:*`. Empty is all.
    allowed_models = models.JSONField(default=list, blank=True)
    # models_app.domain.traffic.limits: a missing limit has the default of all keys.
    limits = models.JSONField(default=dict, blank=True, db_default={})
    # Whether its requests can load a model, and unload others for it.
    load_on_demand = models.BooleanField(default=True)
    may_evict = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"
