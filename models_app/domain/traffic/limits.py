"""What one API key may use, and the counting of it in one process. No clock: times are given, in seconds.

A minute is the sixty seconds up to now, not a minute of the clock: whenever one looks, never more than the limit has
passed in any of them. It is counted by the second, so what happened up to a second more ago may still count.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from models_app.domain.errors import InvalidRequest

MINUTE = 60
# Counters are whole numbers in every store.
MICRO = 1_000_000
MOST_ADDRESSES = 100
# What a body of text is about: the estimate of what a request will use, until its answer tells.
BYTES_PER_TOKEN = 4
USUAL_ANSWER_TOKENS = 256


class Refusal(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"
    MONTHLY_TOKENS = "monthly_tokens"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """None is no limit. `addresses` are IP addresses and networks that may use the key; empty is all."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_tokens: int | None = None
    monthly_budget_usd: float | None = None
    addresses: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether anything has to be counted."""
        return any(getattr(self, name) is not None for name in COUNTED)

    @property
    def counts_months(self) -> bool:
        return self.monthly_tokens is not None or self.monthly_budget_usd is not None

    def allows(self, address: str) -> bool:
        return not self.addresses or _is_within(self.addresses, address)


NAMES = tuple(one.name for one in fields(KeyLimits))
COUNTED = NAMES[:-1]


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as they are stored. 0 is "no limit, whatever the default"; raises InvalidRequest that names the field."""
    for name in given:
        if name not in NAMES:
            raise InvalidRequest(f"'{str(name)[:40]}' is no limit. Known: {', '.join(NAMES)}.", param="limits")
    found: dict[str, Any] = {}
    for name in COUNTED:
        value = given.get(name)
        if value is None:
            continue
        whole = type(value) is int or (name == "monthly_budget_usd" and type(value) is float)
        if not whole or not 0 <= value <= 1e12:
            raise InvalidRequest(f"'{name}' must be a number of at least 0; 0 is no limit.", param=f"limits.{name}")
        found[name] = value
    addresses = _checked_addresses(given.get("addresses") or ())
    return found | ({"addresses": addresses} if addresses else {})


def _checked_addresses(given: Any) -> list[str]:
    if not isinstance(given, list | tuple) or len(given) > MOST_ADDRESSES:
        raise InvalidRequest(
            f"'addresses' must be a list of at most {MOST_ADDRESSES} addresses and networks.",
            param="limits.addresses",
        )
    try:
        return [str(ipaddress.ip_network(str(one), strict=False)) for one in given]
    except ValueError as error:
        raise InvalidRequest(
            f"'addresses' takes addresses and networks such as 10.0.0.0/8: {error}.",
            code="invalid_network",
            param="limits.addresses",
        ) from None


def effective(own: Mapping[str, Any], default: Mapping[str, Any]) -> KeyLimits | None:
    """A key's own limits before the ones of all keys; None when nothing limits it."""
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
    return any(mapped in ipaddress.ip_network(one) for one in addresses)


def estimate(size: int, answer_tokens: int | None) -> int:
    """Tokens that a request of `size` bytes may use, with the length of the answer that it asks for."""
    return size // BYTES_PER_TOKEN + (answer_tokens or USUAL_ANSWER_TOKENS)


def month_of(now: float) -> str:
    """`2026-11`, in UTC."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def until_next_month(now: float) -> int:
    """Whole seconds, at least one."""
    at = datetime.fromtimestamp(now, UTC)
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return max(1, int((following - at).total_seconds()))


@dataclass(slots=True)
class Standing:
    """What a store says of a request: whether it may pass, and how much is left.

    retry_after  seconds after which it is worth trying again; None when it passed
    remaining    requests and tokens of this minute that are left; None where there is no limit
    reset        seconds until all of them are back
    """

    refusal: Refusal | None = None
    retry_after: float | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests: float = 0.0
    reset_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that is counted, until it is settled. `second` is when its tokens were set aside."""

    key_id: str
    request_id: str
    reserved: int
    second: int


@dataclass(slots=True)
class Window:
    """How much happened in each of the last sixty seconds."""

    seconds: dict[int, int] = field(default_factory=dict)

    def total(self, second: int) -> int:
        for old in [one for one in self.seconds if one <= second - MINUTE - 1]:
            del self.seconds[old]
        return sum(self.seconds.values())

    def add(self, second: int, count: int) -> None:
        self.seconds[second] = max(0, self.seconds.get(second, 0) + count)

    def free_in(self, now: float, excess: int) -> float:
        """Seconds until `excess` of what is counted has fallen out."""
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
    active: set[str] = field(default_factory=set)
    month: str = ""
    month_tokens: int = 0
    month_micro: int = 0


class Counters:
    """The counting in one process. Not thread-safe: one event loop uses it."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def admit(self, ticket: Ticket, limits: KeyLimits, now: float) -> Standing:
        """Count a request, or say which limit refuses it; one that is refused is not counted."""
        key, second = self._key(ticket.key_id, now), int(now)
        requests, tokens = key.requests.total(second), key.tokens.total(second)
        standing = Standing()
        standing.refusal, standing.retry_after = _judged(key, limits, ticket, (requests, tokens), now)
        if standing.refusal is None:
            key.requests.add(second, 1)
            key.tokens.add(ticket.second, ticket.reserved)
            key.active.add(ticket.request_id)
            requests, tokens = requests + 1, tokens + ticket.reserved
        if limits.requests_per_minute is not None:
            standing.remaining_requests = max(0, limits.requests_per_minute - requests)
            standing.reset_requests = key.requests.empty_in(now)
        if limits.tokens_per_minute is not None:
            standing.remaining_tokens = max(0, limits.tokens_per_minute - tokens)
            standing.reset_tokens = key.tokens.empty_in(now)
        return standing

    def settle(self, ticket: Ticket, tokens: int, micro_usd: int, now: float) -> None:
        """The request has ended: what it used in place of what was set aside."""
        key = self._key(ticket.key_id, now)
        key.active.discard(ticket.request_id)
        if ticket.second > int(now) - MINUTE - 1:
            key.tokens.add(ticket.second, tokens - ticket.reserved)
        key.month_tokens += tokens
        key.month_micro += micro_usd

    def raise_to(self, spent: Iterable[Spent], now: float) -> None:
        """What the roll-ups know of this month, where that is more than what was counted here."""
        for one in spent:
            key = self._key(one.key_id, now)
            if key.month == one.month:
                key.month_tokens = max(key.month_tokens, one.tokens)
                key.month_micro = max(key.month_micro, one.micro_usd)

    def _key(self, key_id: str, now: float) -> _Key:
        key = self._keys.setdefault(key_id, _Key())
        if key.month != month_of(now):
            key.month, key.month_tokens, key.month_micro = month_of(now), 0, 0
        return key


@dataclass(frozen=True, slots=True)
class Spent:
    """What a key has used in a month."""

    key_id: str
    month: str
    tokens: int
    micro_usd: int


def _judged(
    key: _Key, limits: KeyLimits, ticket: Ticket, used: tuple[int, int], now: float
) -> tuple[Refusal | None, float | None]:
    requests, tokens = used
    month = float(until_next_month(now))
    if limits.monthly_tokens is not None and key.month_tokens >= limits.monthly_tokens:
        return Refusal.MONTHLY_TOKENS, month
    budget = limits.monthly_budget_usd
    if budget is not None and key.month_micro >= round(budget * MICRO):
        return Refusal.BUDGET, month
    most = limits.requests_per_minute
    if most is not None and requests >= most:
        return Refusal.REQUESTS, key.requests.free_in(now, requests - most + 1)
    most = limits.tokens_per_minute
    # One that is larger than the limit itself passes alone: it could never pass otherwise.
    if most is not None and tokens and tokens + ticket.reserved > most:
        return Refusal.TOKENS, key.tokens.free_in(now, tokens + min(ticket.reserved, most) - most)
    if limits.max_concurrent is not None and len(key.active) >= limits.max_concurrent:
        return Refusal.CONCURRENT, 1.0
    return None, None
