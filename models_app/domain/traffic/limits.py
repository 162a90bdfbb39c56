"""The limits of one API key, and their counting in one process. Pure: the caller passes times, in seconds.

A minute is a sliding window of sixty seconds, so that no window of that length exceeds the limit. It is counted by
whole seconds, so usage up to one second older can still count.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from models_app.domain.errors import InvalidRequest, PermissionDenied

MINUTE = 60
# Counters are whole numbers in every store.
MICRO = 1_000_000
MOST_ADDRESSES = 100
# Counters stay below it in every store: a larger sum is not exact there.
MOST = 2**53


class Refusal(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"
    MONTHLY_TOKENS = "monthly_tokens"
    BUDGET = "budget"
    # The rest of the month's tokens or dollars is set aside for requests in flight.
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The limits of one key; None is no limit. `addresses` are allowed IP addresses and networks; empty is all."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_tokens: int | None = None
    monthly_budget_usd: float | None = None
    addresses: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether any limit needs counting."""
        return any(getattr(self, name) is not None for name in COUNTED)

    @property
    def counts_months(self) -> bool:
        return self.monthly_tokens is not None or self.monthly_budget_usd is not None

    def allows(self, address: str) -> bool:
        return not self.addresses or _is_within(self.addresses, address)

    def require_address(self, address: str) -> None:
        """Raises PermissionDenied for a client from which the key is not valid. Both worlds call it."""
        if not self.allows(address):
            raise PermissionDenied(
                "This API key is not allowed from this address. An administrator can change that.",
                code="address_not_allowed",
            )


NAMES = tuple(item.name for item in fields(KeyLimits))
COUNTED = NAMES[:-1]


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Limits in stored form. 0 means no limit, whatever the default. Raises InvalidRequest that names the field."""
    for name in values:
        if name not in NAMES:
            raise InvalidRequest(f"Unknown limit '{str(name)[:40]}'. Known: {', '.join(NAMES)}.", param="limits")
    found: dict[str, Any] = {}
    for name in COUNTED:
        value = values.get(name)
        if value is None:
            continue
        whole = type(value) is int or (name == "monthly_budget_usd" and type(value) is float)
        if not whole or not 0 <= value <= 1e12:
            raise InvalidRequest(f"'{name}' must be a number of at least 0; 0 is no limit.", param=f"limits.{name}")
        found[name] = value
    addresses = _checked_addresses(values.get("addresses") or ())
    return found | ({"addresses": addresses} if addresses else {})


def _checked_addresses(values: Any) -> list[str]:
    if not isinstance(values, list | tuple) or len(values) > MOST_ADDRESSES:
        raise InvalidRequest(
            f"'addresses' must be a list of at most {MOST_ADDRESSES} addresses and networks.",
            param="limits.addresses",
        )
    try:
        return [str(ipaddress.ip_network(str(item), strict=False)) for item in values]
    except ValueError as error:
        raise InvalidRequest(
            f"'addresses' accepts addresses and networks such as 10.0.0.0/8: {error}.",
            code="invalid_network",
            param="limits.addresses",
        ) from None


def effective(own: Mapping[str, Any], default: Mapping[str, Any]) -> KeyLimits | None:
    """The limits of a key: its own take precedence over the default. None without limits."""
    found = {**default, **own}
    limits = KeyLimits(
        **{name: found[name] for name in COUNTED if found.get(name)},
        addresses=tuple(found.get("addresses", ())),
    )
    return limits if limits != KeyLimits() else None


@lru_cache(maxsize=4096)
def _is_within(addresses: tuple[str, ...], address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in ipaddress.ip_network(item) for item in addresses)


def month_of(now: float) -> str:
    """The month in UTC, for example `2026-11`."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def until_next_month(now: float) -> int:
    """Whole seconds until the next month (UTC), at least one."""
    at = datetime.fromtimestamp(now, UTC)
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return max(1, int((following - at).total_seconds()))


@dataclass(slots=True)
class Standing:
    """A store's result for a request: whether it is admitted, and what remains.

    retry_after  seconds until a retry can pass; None when it was admitted
    remaining    requests and tokens of this minute; None without a limit
    reset        seconds until all of them are available again
    """

    refusal: Refusal | None = None
    retry_after: float | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests: float = 0.0
    reset_tokens: float = 0.0
    # Of the month, in millionths of a US dollar; None where no budget is counted, or another store counts it.
    spent_micro: int | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A counted request, until it is settled. `second` is the time of its reservation.

    reserved    tokens that are set aside of the minute
    held        tokens that are set aside of the month, the most that the request can use
    held_micro  the same in millionths of a dollar
    """

    key_id: str
    request_id: str
    reserved: int
    second: int
    held: int = 0
    held_micro: int = 0


@dataclass(slots=True)
class Window:
    """Counts of each of the last sixty seconds."""

    seconds: dict[int, int] = field(default_factory=dict)

    def total(self, second: int) -> int:
        # Those of the future were counted before the clock was set back.
        for other in [known for known in self.seconds if not second - MINUTE - 1 < known <= second]:
            del self.seconds[other]
        return sum(self.seconds.values())

    def add(self, second: int, count: int) -> None:
        self.seconds[second] = max(0, self.seconds.get(second, 0) + count)

    def free_in(self, now: float, excess: int) -> float:
        """Seconds until `excess` of the count has left the window."""
        for second in sorted(self.seconds):
            excess -= self.seconds[second]
            if excess <= 0:
                return max(0.001, second + MINUTE + 1 - now)
        return 1.0

    def empty_in(self, now: float) -> float:
        return max(0.0, max(self.seconds) + MINUTE + 1 - now) if self.seconds else 0.0


@dataclass(slots=True)
class _Key:
    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    active: dict[str, Ticket] = field(default_factory=dict)
    month: str = ""
    month_tokens: int = 0
    month_micro: int = 0
    # Of the active requests.
    held: int = 0
    held_micro: int = 0

    def enter(self, ticket: Ticket) -> None:
        self.leave(ticket.request_id)
        self.active[ticket.request_id] = ticket
        self.held += ticket.held
        self.held_micro += ticket.held_micro

    def leave(self, request_id: str) -> None:
        ticket = self.active.pop(request_id, None)
        if ticket is not None:
            self.held -= ticket.held
            self.held_micro -= ticket.held_micro


class Counters:
    """The counting in one process. Not thread-safe: one event loop uses it."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def admit(self, ticket: Ticket, limits: KeyLimits, now: float) -> Standing:
        """Count a request, or return the limit that refuses it; a refused request is not counted."""
        key, second = self._key(ticket.key_id, now), int(now)
        requests, tokens = key.requests.total(second), key.tokens.total(second)
        standing = Standing()
        standing.refusal, standing.retry_after = _refusal_of(key, limits, ticket, (requests, tokens), now)
        if standing.refusal is None:
            key.requests.add(second, 1)
            key.tokens.add(ticket.second, ticket.reserved)
            key.enter(ticket)
            requests, tokens = requests + 1, tokens + ticket.reserved
        if limits.requests_per_minute is not None:
            standing.remaining_requests = max(0, limits.requests_per_minute - requests)
            standing.reset_requests = key.requests.empty_in(now)
        if limits.tokens_per_minute is not None:
            standing.remaining_tokens = max(0, limits.tokens_per_minute - tokens)
            standing.reset_tokens = key.tokens.empty_in(now)
        if limits.monthly_budget_usd is not None:
            standing.spent_micro = key.month_micro
        return standing

    def settle(self, ticket: Ticket, tokens: int, micro_usd: int, now: float) -> None:
        """Replace what was set aside for a request that has ended by its usage."""
        key = self._key(ticket.key_id, now)
        key.leave(ticket.request_id)
        # A second that has left the window is removed before the window is read again.
        key.tokens.add(ticket.second, tokens - ticket.reserved)
        key.month_tokens = min(key.month_tokens + tokens, MOST)
        key.month_micro = min(key.month_micro + micro_usd, MOST)

    def raise_to(self, spent: Iterable[Spent], now: float) -> None:
        """Raise this month's counts to the roll-ups' sums where those are larger."""
        for item in spent:
            key = self._key(item.key_id, now)
            if key.month == item.month:
                key.month_tokens = max(key.month_tokens, item.tokens)
                key.month_micro = max(key.month_micro, item.micro_usd)

    def _key(self, key_id: str, now: float) -> _Key:
        key = self._keys.setdefault(key_id, _Key())
        if key.month != month_of(now):
            key.month, key.month_tokens, key.month_micro = month_of(now), 0, 0
        return key


@dataclass(frozen=True, slots=True)
class Spent:
    """The usage of a key in a month."""

    key_id: str
    month: str
    tokens: int
    micro_usd: int


def _refusal_of(
    key: _Key, limits: KeyLimits, ticket: Ticket, used: tuple[int, int], now: float
) -> tuple[Refusal | None, float | None]:
    requests, tokens = used
    refusal = _month_refusal(key, limits)
    if refusal is not None:
        return refusal, 1.0 if refusal is Refusal.SET_ASIDE else float(until_next_month(now))
    most = limits.requests_per_minute
    if most is not None and requests >= most:
        return Refusal.REQUESTS, key.requests.free_in(now, requests - most + 1)
    most = limits.tokens_per_minute
    # A request larger than the limit itself passes alone: otherwise it could never pass.
    if most is not None and tokens and tokens + ticket.reserved > most:
        return Refusal.TOKENS, key.tokens.free_in(now, tokens + min(ticket.reserved, most) - most)
    if limits.max_concurrent is not None and len(key.active) >= limits.max_concurrent:
        return Refusal.CONCURRENT, 1.0
    return None, None


def _month_refusal(key: _Key, limits: KeyLimits) -> Refusal | None:
    """What a request itself can use is not compared: the last one of a month may exceed the limit, and no other."""
    budget = None if limits.monthly_budget_usd is None else round(limits.monthly_budget_usd * MICRO)
    if limits.monthly_tokens is not None and key.month_tokens >= limits.monthly_tokens:
        return Refusal.MONTHLY_TOKENS
    if budget is not None and key.month_micro >= budget:
        return Refusal.BUDGET
    if limits.monthly_tokens is not None and key.month_tokens + key.held >= limits.monthly_tokens:
        return Refusal.SET_ASIDE
    if budget is not None and key.month_micro + key.held_micro >= budget:
        return Refusal.SET_ASIDE
    return None
