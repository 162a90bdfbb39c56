"""Prices of tokens, in US dollars per million tokens; an unknown price is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; None is unknown.

    `prompt` includes `cached` and `cache_write`; `completion` includes `reasoning`, as in OpenAI's usage object.
    """

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def updated(self, later: Usage) -> Usage:
        """With the counts of a later report: each replaces the earlier one, unless it is unknown."""
        known = {name: getattr(later, name) for name in later.__slots__}
        return replace(self, **{name: n for name, n in known.items() if n is not None})


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per million tokens. A missing price of cached tokens is that of prompt tokens."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None

    def of(self, usage: Usage) -> Decimal | None:
        """US dollars for these tokens; None when the prompt's count is unknown."""
        if usage.prompt is None:
            return None
        cached, written = usage.cached or 0, usage.cache_write or 0
        plain = max(0, usage.prompt - cached - written)
        cached_price = self.input if self.cached_input is None else self.cached_input
        write_price = self.input if self.cache_write is None else self.cache_write
        total = plain * self.input + cached * cached_price + written * write_price
        return (total + (usage.completion or 0) * self.output) / _MILLION


@dataclass(frozen=True, slots=True)
class Tier(Rates):
    """The rates for all tokens of a request whose prompt has more than `above` tokens."""

    above: int = 0


@dataclass(frozen=True, slots=True)
class Price(Rates):
    """The price of a model.

    source  `operator`, `provider` or `genai-prices`
    tiers   the rates of requests with long prompts, the shortest first
    """

    source: str = "operator"
    tiers: tuple[Tier, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Price:
        """Read a stored price, whose amounts are numbers or decimal strings."""
        return cls(
            **_amounts(data),
            source=str(data.get("source", "operator")),
            tiers=tuple(Tier(**_amounts(tier), above=int(tier["above"])) for tier in data.get("tiers", ())),
        )

    def as_dict(self) -> dict[str, Any]:
        """Amounts as decimal strings, so that JSON does not round them."""
        data = _strings(self) | {"source": self.source}
        if self.tiers:
            data["tiers"] = [_strings(tier) | {"above": tier.above} for tier in self.tiers]
        return data


_AMOUNTS = ("input", "output", "cached_input", "cache_write")


def _amounts(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Decimal(str(data[name])) for name in _AMOUNTS if data.get(name) is not None}


def _strings(rates: Rates) -> dict[str, Any]:
    values = {name: getattr(rates, name) for name in _AMOUNTS}
    return {name: f"{value:f}" for name, value in values.items() if value is not None}


def cost(price: Price | None, usage: Usage) -> Decimal | None:
    """US dollars; None when the price or a count that it needs is unknown."""
    if price is None:
        return None
    rates: Rates = price
    for tier in price.tiers:
        if (usage.prompt or 0) > tier.above:
            rates = tier
    return rates.of(usage)
