"""Every URL of the console, taken from the admin site."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.urls import URLPattern, reverse

from models_app.admin import pages
from models_app.models import RegisteredModel


def of_site() -> list[str]:
    names = ("index", "login", "password_change", "password_change_done", "jsi18n", "search")
    found = [reverse(f"admin:{name}") for name in names]
    found += [reverse(f"console:{pattern.name}") for pattern in pages.urlpatterns]
    return [*found, reverse("admin:app_list", args=["models_app"])]


def of_tables() -> Iterator[tuple[type[Model], str, str]]:
    """(model, URL name, URL) of each table, with the first row where an id is needed."""
    for model, model_admin in admin.site._registry.items():
        for pattern in model_admin.get_urls():
            if pattern.name:
                yield model, pattern.name, _address(model, pattern)


def _address(model: type[Model], pattern: URLPattern) -> str:
    parameters = list(pattern.pattern.converters) or list(pattern.pattern.regex.groupindex)
    row = model._default_manager.first()
    values = dict.fromkeys(parameters, row.pk if row else 1)
    return reverse(f"admin:{pattern.name}", kwargs=values)


def lists_and_pages() -> list[str]:
    return [address for _, name, address in of_tables() if name.endswith(("_changelist", "_change"))]


def dialogs() -> list[str]:
    """The URLs of all actions."""
    return [
        address
        for model, name, address in of_tables()
        if name.removeprefix(f"models_app_{model._meta.model_name}_") in actions(model)
    ]


def actions(model: type[Model]) -> set[str]:
    model_admin: Any = admin.site._registry[model]
    return {*model_admin.actions_row, *model_admin.actions_detail, *model_admin.actions_list}


def everything_stored() -> dict[str, list[dict[str, object]]]:
    """All rows of all tables that the console shows."""
    tables: list[type[Model]] = [*admin.site._registry, User, Group, RegisteredModel]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in tables}
