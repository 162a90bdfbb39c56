"""The first page as it is opened; from then on `dashboard.stream` keeps it true."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.safestring import mark_safe

from models_app.admin.dashboard.board import board, names_for


def add_to_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. Each part is there only for who may see its table."""
    names = names_for(request.user)
    # Rendered by templates, which have escaped what is in them.
    parts = [(name, mark_safe(html)) for name, html in board.parts().items() if name in names]
    return {**context, "parts": parts}
