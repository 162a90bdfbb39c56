"""What an API key or a user can give to an API key: nothing that they do not have themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from models_app.domain.scopes import Scope, allows, may_use
from models_app.domain.traffic.limits import COUNTED, KeyLimits


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rights of a key. `limits` are the effective ones; None for `expires_at` is for ever."""

    scopes: frozenset[str]
    allowed_models: frozenset[str] = frozenset()
    limits: KeyLimits = field(default_factory=KeyLimits)
    expires_at: datetime | None = None
    load_on_demand: bool = True
    may_evict: bool = True


UNBOUNDED = Bounds(frozenset({Scope.ADMIN}))


def excess(wanted: Bounds, held: Bounds) -> str | None:
    """The first field in which `wanted` allows more than `held`; None when it is within."""
    checks = {
        "scopes": all(allows(held.scopes, Scope(scope)) for scope in wanted.scopes),
        "allowed_models": _names_within(wanted.allowed_models, held.allowed_models),
        "limits.addresses": _networks_within(wanted.limits.addresses, held.limits.addresses),
        **{f"limits.{name}": _at_most(getattr(wanted.limits, name), getattr(held.limits, name)) for name in COUNTED},
        "expires_at": _at_most(wanted.expires_at, held.expires_at),
        "load_on_demand": held.load_on_demand or not wanted.load_on_demand,
        "may_evict": held.may_evict or not wanted.may_evict,
    }
    return next((name for name, is_within in checks.items() if not is_within), None)


def _names_within(wanted: frozenset[str], held: frozenset[str]) -> bool:
    """An empty list is all names."""
    return not held or (bool(wanted) and all(may_use(held, name) for name in wanted))


def _networks_within(wanted: Iterable[str], held: Iterable[str]) -> bool:
    """An empty list is all addresses."""
    outer = [ipaddress.ip_network(item) for item in held]
    inner = [ipaddress.ip_network(item) for item in wanted]
    return not outer or (bool(inner) and all(any(_is_subnet(one, other) for other in outer) for one in inner))


def _is_subnet(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.subnet_of(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.subnet_of(other)
    return False


Ordered = TypeVar("Ordered", float, datetime)


def _at_most(wanted: Ordered | None, held: Ordered | None) -> bool:
    """None is without a limit."""
    return held is None or (wanted is not None and wanted <= held)
