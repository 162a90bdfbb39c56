"""Every URL that Django serves, read from the URLconf, so that none can be missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from models_app.api.views.base import operation_id
from models_app.domain.rights import RIGHTS, Right
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
    # The name of the path's parameter, if it has one, and the path with it in braces.
    parameter: str | None = None
    pattern: str = ""

    @property
    def name(self) -> str:
        """The operation's id in the OpenAPI document."""
        return operation_id(self.callback.cls, self.callback.actions[self.method])

    @property
    def right(self) -> Right:
        return RIGHTS[self.name]

    @property
    def needed_scope(self) -> Scope | None:
        return self.right.scope

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


_PARAMETER = re.compile(r"<(\w+):(\w+)>")


def addresses() -> Iterator[tuple[str, Any]]:
    """Every path with sample values, and its view function."""
    for pattern, callback in _walk(get_resolver().url_patterns, "/"):
        yield _PARAMETER.sub(lambda found: VALUES[found[1]], pattern), callback


def _walk(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def operations() -> list[Operation]:
    return [
        Operation(method, _PARAMETER.sub(lambda found: VALUES[found[1]], pattern), callback, *_parameter(pattern))
        for pattern, callback in _walk(get_resolver().url_patterns, "/")
        if pattern.startswith("/api/v1/")
        for method in METHODS
        if method in callback.actions
    ]


def _parameter(pattern: str) -> tuple[str | None, str]:
    found = _PARAMETER.search(pattern)
    return found[2] if found else None, _PARAMETER.sub(r"{\2}", pattern)
