"""The cost of a request; an unknown price is not 0."""

from __future__ import annotations

from decimal import Decimal

import pytest

from models_app.domain.catalog.pricing import Price, Tier, Usage, cost

D = Decimal
PRICE = Price(input=D("2.5"), output=D(10), cached_input=D("1.25"), cache_write=D(3))


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(prompt=1_000_000, completion=0), "2.5"),
        (Usage(prompt=0, completion=1_000_000), "10"),
        (Usage(prompt=1000, completion=100), "0.0035"),
        (Usage(prompt=1000, completion=100, cached=1000), "0.00225"),
        (Usage(prompt=1000, completion=0, cached=400, cache_write=100), "0.00205"),
        (Usage(prompt=10, completion=5, reasoning=5), "0.000075"),
        (Usage(prompt=10), "0.000025"),
        (Usage(prompt=10, cached=50), "0.0000625"),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, dollars: str) -> None:
    assert cost(PRICE, usage) == D(dollars)


def test_without_a_price_of_their_own_cached_tokens_cost_what_others_cost() -> None:
    plain = Price(input=D(2), output=D(4))
    assert cost(plain, Usage(prompt=1000, completion=0, cached=900)) == D("0.002")


def test_what_is_not_known_is_not_free() -> None:
    assert cost(None, Usage(prompt=10, completion=10)) is None
    assert cost(PRICE, Usage(completion=10)) is None
    assert cost(Price(input=D(0), output=D(0)), Usage(prompt=10, completion=1)) == 0


def test_a_price_survives_being_stored() -> None:
    tiers = (Tier(input=D(5), output=D("22.5"), above=200_000),)
    price = Price(input=D("2.50"), output=D(10), cached_input=D("0.1"), source="provider", tiers=tiers)
    assert Price.from_dict(price.as_dict()) == price
    assert price.as_dict() == {
        "input": "2.50",
        "output": "10",
        "cached_input": "0.1",
        "source": "provider",
        "tiers": [{"input": "5", "output": "22.5", "above": 200_000}],
    }


def test_amounts_may_be_stored_as_numbers() -> None:
    price = Price.from_dict({"input": 2.5, "output": 10, "cached_input": None})
    assert (price.input, price.cached_input, price.source) == (D("2.5"), None, "operator")


def test_the_longest_tier_that_is_reached_counts() -> None:
    tiers = (Tier(D(2), D(2), above=100), Tier(D(3), D(3), above=1000))
    price = Price(input=D(1), output=D(1), tiers=tiers)
    for prompt, dollars in ((100, "0.0001"), (101, "0.000202"), (1000, "0.002"), (2000, "0.006")):
        assert cost(price, Usage(prompt=prompt, completion=0)) == D(dollars)


def test_a_tier_begins_above_its_length() -> None:
    price = Price(input=D(1), output=D(1), tiers=(Tier(D(9), D(9), above=0),))
    assert cost(price, Usage(prompt=0, completion=1_000_000)) == D(1)
    assert cost(price, Usage(prompt=1, completion=1_000_000)) == D("9.000009")
    assert cost(price, Usage(completion=1_000_000)) is None
