"""The operators' console: Django's admin with django-unfold, by its documented hooks only."""

from models_app.admin import accounts, instances, jobs, keys, registry, routes, telemetry

__all__ = ["accounts", "instances", "jobs", "keys", "registry", "routes", "telemetry"]
