"""Prices from the data of genai-prices, only for the services in that data."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from models_app.domain.catalog.pricing import Price, Tier, Usage, cost
from models_app.models import Provider
from models_app.services.providers import prices

AT = datetime(2026, 11, 1, tzinfo=UTC)


def known(name: str, kind: str = "openai", base_url: str = "") -> prices.Known:
    provider = Provider(slug="p", kind=kind, base_url=base_url)
    return prices.known(provider=provider, remote_id=name, at=AT)


def test_a_model_of_openai_has_a_price_and_a_window() -> None:
    found = known("gpt-4o")
    assert found.price is not None
    assert found.price.source == "genai-prices"
    assert found.price.input > 0 < found.price.output
    assert found.price.cached_input is not None
    assert found.context_window == 128_000


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("gpt-4o", "http://localhost:11434/v1"),
        ("gpt-4o", "https://evil.example/https://api.openai.com/v1"),
        ("a-model-that-nobody-knows", ""),
    ],
)
def test_the_same_name_elsewhere_has_no_price(name: str, base_url: str) -> None:
    assert known(name, base_url=base_url) == prices.NOTHING


def test_a_model_for_embeddings_has_a_price_without_output() -> None:
    price = known("text-embedding-3-small").price
    assert price is not None
    assert (price.output, price.input > 0) == (Decimal(0), True)


def test_a_model_that_is_not_paid_by_text_tokens_is_unpriced() -> None:
    assert known("whisper-1").price is None


def test_long_prompts_may_cost_more() -> None:
    price = known("claude-sonnet-4-5", "anthropic").price
    assert price is not None
    (tier,) = price.tiers
    assert tier.above >= 100_000
    assert tier.input > price.input
    assert Price.from_dict(price.as_dict()) == price


def test_a_price_by_the_hour_of_the_day_is_unknown() -> None:
    assert known("deepseek-chat", base_url="https://api.deepseek.com/v1").price is None


def test_the_tier_of_a_prompt_is_for_all_its_tokens() -> None:
    long = Tier(input=Decimal(6), output=Decimal(20), above=1000)
    price = Price(input=Decimal(3), output=Decimal(10), tiers=(long,))
    assert cost(price, Usage(prompt=1000, completion=100)) == Decimal("0.004")
    assert cost(price, Usage(prompt=1001, completion=100)) == Decimal("0.008006")
    assert cost(price, Usage(prompt=None, completion=100)) is None
    assert cost(None, Usage(prompt=1)) is None
