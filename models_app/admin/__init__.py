"""The operators' console: Django's admin with django-unfold, by its documented hooks only."""

from django.contrib import admin

from models_app.admin import (
    accounts,
    instances,
    jobs,
    keys,
    providers,
    registry,
    routes,
    telemetry,
)

admin.site.index_title = "Overview"

__all__ = ["accounts", "instances", "jobs", "keys", "providers", "registry", "routes", "telemetry"]
