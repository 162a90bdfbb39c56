"""Every URL that Django serves, read from the URLconf, so that none can be missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from models_app.domain.scopes import Scope

# A value for each converter; no object has this name.
VALUES = {
    "uuid": "00000000-0000-0000-0000-000000000000",
    "modelkey": "llama.cpp:nothing",
    "provider": "llama.cpp",
    "int": "1",
    "str": "nothing",
    "slug": "nothing",
    "path": "nothing",
}
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one URL under /api/v1; `callback` is the view that `as_view` returned."""

    method: str
    path: str
    callback: Any

    @property
    def needed_scope(self) -> Scope | None:
        """The scope that the viewset's permission class requires."""
        permission, *others = self.callback.initkwargs.get("permission_classes", self.callback.cls.permission_classes)
        assert not others
        scope: Scope | None = permission().needed_scope(self.method.upper())
        return scope

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


def addresses() -> Iterator[tuple[str, Any]]:
    """Every path with sample values, and its view function."""
    yield from _walk(get_resolver().url_patterns, "/")


def _walk(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield re.sub(r"<(\w+):\w+>", lambda found: VALUES[found[1]], path), pattern.callback


def operations() -> list[Operation]:
    return [
        Operation(method, path, callback)
        for path, callback in addresses()
        if path.startswith("/api/v1/")
        for method in METHODS
        if method in callback.actions
    ]
