"""The scopes of API keys."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """`infer` sends requests to models; `read` reads the management API; `operate` loads, unloads and switches.

    `admin` allows everything, `metrics:read` only the page for Prometheus.
    """

    INFER = "infer"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    METRICS = "metrics:read"


def allows(granted: frozenset[str], needed: Scope) -> bool:
    """Whether the granted scopes include the needed one; `operate` includes `read`."""
    if Scope.ADMIN in granted or needed in granted:
        return True
    return needed == Scope.READ and Scope.OPERATE in granted


def may_use(allowed: frozenset[str], name: str) -> bool:
    """Whether a key restricted to `allowed` can use this route or model key; an empty set is no restriction."""
    provider, colon, _ = name.partition(":")
    return not allowed or name in allowed or (bool(colon) and f"{provider}:*" in allowed)
