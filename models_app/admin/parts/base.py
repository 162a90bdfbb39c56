"""Base classes of the console's pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline

from models_app.admin.parts.units import NOTHING


class ConsoleAdmin(ModelAdmin):
    """A page of objects that operators edit. It has no "add" and "delete": services do both."""

    empty_value_display = NOTHING
    # Two screens; each row costs about as much as the rest of the page.
    list_per_page = 30
    # The changelist's own drop-down would contain only "delete selected".
    actions = None
    list_before_template = "admin/noa/list_hint.html"
    # The text of an empty list: its future content, and how to fill it.
    empty_hint = ""

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Extra template context of a row's own page."""
        return {}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        extra = self.row_context(request, row) if row else {}
        page: HttpResponse = super().render_change_form(request, context | extra, *args, **kwargs)
        return page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class MachineWrittenAdmin(ConsoleAdmin):
    """Rows that only NOA writes: read-only."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[str]:
        return [name for _, options in self.get_fieldsets(request, obj) for name in _flat(options)]


def _flat(options: dict[str, Any]) -> list[str]:
    names: list[str] = []
    for field in options["fields"]:
        names += [field] if isinstance(field, str) else field
    return names


class ReadOnlyInline(TabularInline):
    """A read-only history on the page of its parent."""

    extra = 0
    can_delete = False
    hide_title = True
    per_page = 20
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
