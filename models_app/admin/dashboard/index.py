"""The first rendering of the overview; `dashboard.stream` updates it afterwards."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.safestring import mark_safe

from models_app.admin.dashboard.board import board, names_for


def add_to_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. Includes only parts whose tables the user can view."""
    names = names_for(request.user)
    # Rendered by templates, which escape their values.
    parts = [(name, mark_safe(html)) for name, html in board.parts().items() if name in names]
    return {**context, "parts": parts}
