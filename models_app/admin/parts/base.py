"""What the pages of the console have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline

from models_app.admin.parts.units import NOTHING


class ConsoleAdmin(ModelAdmin):
    """A page of things that people look after; nothing is deleted behind the back of what runs."""

    empty_value_display = NOTHING
    # As many as fit two screens; each row costs about as much as the rest of the page.
    list_per_page = 30
    # The changelist's own drop-down would hold nothing but "delete selected".
    actions = None
    list_before_template = "admin/noa/list_hint.html"
    # What an empty list is told with: what will be here, and what to do for it.
    empty_hint = ""

    def told_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template of a row's own page is given beside its fields."""
        return {}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = context.get("original")
        told = self.told_of(request, row) if row else {}
        page: HttpResponse = super().render_change_form(request, context | told, *args, **kwargs)
        return page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class MachineWrittenAdmin(ConsoleAdmin):
    """Rows that only NOA writes: they can be read, and nothing else."""

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
    """A history on the page of what it belongs to."""

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
