"""What an API key may do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """`infer` asks models; `read` reads the management API; `operate` loads, unloads and switches; `admin` is all.

    `metrics:read` reads the page for Prometheus, and nothing else.
    """

    INFER = "infer"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    METRICS = "metrics:read"


def allows(granted: frozenset[str], needed: Scope) -> bool:
    """Whether scopes suffice; who may operate may read."""
    if Scope.ADMIN in granted or needed in granted:
        return True
    return needed == Scope.READ and Scope.OPERATE in granted


def may_use(allowed: frozenset[str], name: str) -> bool:
    """Whether a key that is bound to `allowed` may use this route or model key; an empty set binds to nothing."""
    provider, colon, _ = name.partition(":")
    return not allowed or name in allowed or (bool(colon) and f"{provider}:*" in allowed)
