"""Renders JSON with orjson: times as RFC 3339 with `Z`, decimals as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from rest_framework.renderers import BaseRenderer

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class OrjsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Returns the JSON of `data`; bytes are returned unchanged."""
        if data is None:
            return b""
        return data if isinstance(data, bytes) else orjson.dumps(data, _plain, _OPTIONS)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict | list):  # DRF's subclasses, which orjson does not serialize
        return value
    return str(value)
