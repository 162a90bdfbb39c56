"""Public names that applications use, and their target models."""

from __future__ import annotations

from django.db import models

from models_app.models.registry import RegisteredModel


class Route(models.Model):
    """A public name. `current` always exists."""

    name = models.CharField(max_length=64, unique=True)
    target = models.ForeignKey(RegisteredModel, on_delete=models.SET_NULL, null=True, blank=True, related_name="routes")
    # Keys of the models that are tried, in this order, when the target cannot answer.
    fallbacks = models.JSONField(default=list, blank=True)
    # Whether a request for it can load its model, and unload others for that.
    load_on_demand = models.BooleanField(default=True)
    may_evict = models.BooleanField(default=True)
    description = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RouteChange(models.Model):
    """One move of a route; keys are text, so that history survives a deregistration."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="changes")
    previous_key = models.CharField(max_length=255, blank=True)
    key = models.CharField(max_length=255, blank=True)
    actor = models.CharField(max_length=150, blank=True)
    job_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.route.name}: {self.previous_key or 'nothing'} to {self.key or 'nothing'}"


class RoutingRevision(models.Model):
    """One row that counts the changes of everything that the gateway's snapshot holds."""

    SINGLETON = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=SINGLETON)
    revision = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.revision)
