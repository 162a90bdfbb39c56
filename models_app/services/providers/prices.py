"""Prices and context windows of the models of well-known providers, from the data of `genai-prices`.

The data is part of the installed package: no request goes over the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from models_app.domain.catalog.pricing import Price, Rates, Tier
from models_app.models import Provider
from models_app.services.providers import providers

if TYPE_CHECKING:
    from genai_prices import types
    from genai_prices.data_snapshot import DataSnapshot

SOURCE = "genai-prices"
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}


@dataclass(frozen=True, slots=True)
class Known:
    """The data on one model; None means unknown."""

    price: Price | None = None
    context_window: int | None = None


NOTHING = Known()


def read_data() -> DataSnapshot:
    """The data; read once, at the first discovery of a process, as that takes 0.7 s and 40 MB."""
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def known(*, provider: Provider, remote_id: str, at: datetime) -> Known:
    """Find a model by its provider's address: a private server can give any model any name."""
    snapshot = read_data()
    try:
        service = snapshot.find_provider(None, None, providers.base_url(provider))
        _, model = snapshot.find_provider_model(remote_id, service, None, None)
    except LookupError:
        return NOTHING
    return Known(_price(model, at), model.context_window)


def _price(model: types.ModelInfo, at: datetime) -> Price | None:
    from genai_prices.types import ModelPrice, TieredPrices, TimeOfDateConstraint

    prices = model.prices
    if not isinstance(prices, ModelPrice) and any(
        isinstance(choice.constraint, TimeOfDateConstraint) for choice in prices
    ):
        # The price depends on the hour of the request; one price for all hours would be wrong.
        return None
    found = model.get_prices(at)
    amounts = {name: getattr(found, field) for name, field in _FIELDS.items()}
    rates = _rates({name: value.base if isinstance(value, TieredPrices) else value for name, value in amounts.items()})
    if rates is None:
        return None
    starts = {tier.start for value in amounts.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    return Price(
        **_amounts(rates),
        source=SOURCE,
        tiers=tuple(_tier(amounts, start) for start in sorted(starts)),
    )


def _tier(amounts: dict[str, Decimal | types.TieredPrices | None], start: int) -> Tier:
    from genai_prices.types import TieredPrices

    values: dict[str, Decimal | None] = {}
    for name, value in amounts.items():
        if isinstance(value, TieredPrices):
            reached = [tier.price for tier in value.tiers if tier.start <= start]
            values[name] = reached[-1] if reached else value.base
        else:
            values[name] = value
    rates = _rates(values)
    assert rates is not None  # the base price has both amounts, and so has every tier
    return Tier(**_amounts(rates), above=start)


def _rates(values: dict[str, Decimal | None]) -> Rates | None:
    prompt, completion = values["input"], values["output"]
    if prompt is None:
        return None
    # A model without a price for output, such as one for embeddings, has no output.
    return Rates(prompt, completion or Decimal(0), values["cached_input"], values["cache_write"])


def _amounts(rates: Rates) -> dict[str, Any]:
    return {name: getattr(rates, name) for name in _FIELDS}
