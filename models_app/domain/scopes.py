"""What an API key may do."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """`infer` asks models; `read` reads the management API; `operate` loads, unloads and switches; `admin` is all."""

    INFER = "infer"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


def allows(granted: frozenset[str], needed: Scope) -> bool:
    """Whether scopes suffice; who may operate may read."""
    if Scope.ADMIN in granted or needed in granted:
        return True
    return needed == Scope.READ and Scope.OPERATE in granted
