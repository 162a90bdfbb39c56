"""The operators' console: Django's admin with django-unfold, by its documented hooks only."""

from django.contrib import admin

from models_app.admin import (
    access,
    accounts,
    audit,
    events,
    instances,
    jobs,
    keys,
    nodes,
    profiles,
    providers,
    registry,
    routes,
)

admin.site.index_title = "Overview"

__all__ = [
    "access",
    "accounts",
    "audit",
    "events",
    "instances",
    "jobs",
    "keys",
    "nodes",
    "profiles",
    "providers",
    "registry",
    "routes",
]
