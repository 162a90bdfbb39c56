"""The operators' console: Django's admin with django-unfold, extended by documented hooks only."""

from django.contrib import admin

from models_app.admin.measuring import profiles
from models_app.admin.people import accounts, keys, log_in
from models_app.admin.records import access, audit, events, jobs
from models_app.admin.registry import instances, models, nodes, providers, routes

admin.site.index_title = "Overview"

__all__ = [
    "access",
    "accounts",
    "audit",
    "events",
    "instances",
    "jobs",
    "keys",
    "log_in",
    "models",
    "nodes",
    "profiles",
    "providers",
    "routes",
]
