"""The models in a provider's list, in one format for all kinds. Nothing is guessed: an unclear field is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.pricing import Price

# More than any provider has; a longer list is an error.
MAX_MODELS = 10_000
# The registry's limit, far above any model's window.
_MAX_TOKENS = 1_000_000_000
_MILLION = 1_000_000
# Decimal places of a price in dollars for a million tokens.
_PLACES = 10
_MAX_TEXT = 190
_MAX_DESCRIPTION = 2000


@dataclass(frozen=True, slots=True)
class Offer:
    """One model as its provider describes it; a field that the provider does not give is None.

    remote_id     its name in requests to the provider
    deprecation   a sentence, when the provider will retire it
    """

    remote_id: str
    name: str | None = None
    description: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    price: Price | None = None
    deprecation: str | None = None


@dataclass(slots=True)
class Listing:
    """`refused`: entries without a usable name, each with `model` and `reason`."""

    offers: list[Offer] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)


def text(entry: Mapping[str, Any], name: str, longest: int = _MAX_TEXT) -> str | None:
    """The text of a field on one line; None when it has none."""
    value = entry.get(name)
    if not isinstance(value, str):
        return None
    return "".join(c if c.isprintable() else " " for c in value[:longest]).strip() or None


def description(entry: Mapping[str, Any]) -> str | None:
    return text(entry, "description", _MAX_DESCRIPTION)


def tokens(entry: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that is a count of tokens."""
    for name in names:
        value = entry.get(name)
        if type(value) is int and 0 < value <= _MAX_TOKENS:
            return value
    return None


def mapping(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in this field; empty for any other value."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def words(entry: Mapping[str, Any], name: str) -> frozenset[str] | None:
    """The list of words in this field; None for any other value."""
    value = entry.get(name)
    return frozenset(map(str, value)) if isinstance(value, list) else None


def supported(entry: Mapping[str, Any], names: Mapping[str, Capability]) -> set[Capability]:
    """The capabilities whose field is true, or an object with `"supported": true`."""
    return {
        capability
        for name, capability in names.items()
        if entry.get(name) is True or mapping(entry, name).get("supported") is True
    }


def price_per_token(pricing: Mapping[str, Any]) -> Price | None:
    """The price from OpenRouter's US dollars per token: `prompt`, `completion`, `input_cache_read` …

    A negative number means that the price depends on the provider that OpenRouter chooses: unknown.
    """
    prompt, completion = _dollars(pricing.get("prompt")), _dollars(pricing.get("completion"))
    if prompt is None or completion is None:
        return None
    return Price(
        input=prompt,
        output=completion,
        cached_input=_dollars(pricing.get("input_cache_read")),
        cache_write=_dollars(pricing.get("input_cache_write")),
        source="provider",
    )


def _dollars(value: object) -> Decimal | None:
    """US dollars per million tokens, from a number or a numeric string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 40:
        return None
    try:
        amount = Decimal(str(value)) * _MILLION
    except InvalidOperation:
        return None
    # Far above every price: a larger one has another unit.
    if not amount.is_finite() or not 0 <= amount <= 100_000:
        return None
    return round(amount, _PLACES).normalize()


def ordered(capabilities: Iterable[Capability]) -> list[str]:
    """The capabilities in the order of the enumeration, as the registry stores them."""
    chosen = set(capabilities)
    return [str(capability) for capability in Capability if capability in chosen]
