"""The lists of models of each kind of provider: the fields that are read, without additions."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import NoaError
from models_app.domain.provider_kinds import ProviderKind, api_url
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers import dialects
from models_app.providers.openai import listing as dialect
from models_app.providers.wire.offers import Listing, Offer
from tests.fakes import anthropic_server, openai_server
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.providers.conftest import endpoint


def listed(at: RemoteEndpoint) -> Listing:
    return asyncio.run(dialects.list_models(at))


def test_what_openai_does_not_say_is_unknown(openai: FakeOpenAI) -> None:
    found = listed(endpoint(openai))
    assert [offer.remote_id for offer in found.offers] == list(openai_server.MODELS)
    assert found.offers[0] == Offer(remote_id="gpt-4o")
    assert openai.requests[0].headers["authorization"] == f"Bearer {openai.key}"


def test_a_server_without_keys_is_sent_none() -> None:
    with FakeOpenAI(key="") as fake:
        assert listed(endpoint(fake)).offers
    assert "authorization" not in fake.requests[0].headers


@pytest.mark.parametrize(
    ("field", "value", "window"),
    [
        ("max_model_len", 8192, 8192),
        ("context_length", 131_072, 131_072),
        ("context_window", 32_768, 32_768),
        ("top_provider", {"context_length": 4096}, 4096),
        ("max_model_len", "8192", None),
        ("max_model_len", -1, None),
        ("max_model_len", True, None),
        ("max_model_len", 10**30, None),
    ],
)
def test_the_context_window_is_read_where_a_server_tells_it(
    openai: FakeOpenAI, field: str, value: object, window: int | None
) -> None:
    openai.models = [openai_server.model("m", **{field: value})]
    assert listed(endpoint(openai)).offers[0].context_window == window


def test_openrouter_tells_prices_and_capabilities(openai: FakeOpenAI) -> None:
    openai.models = [
        openai_server.model(
            "vendor/m",
            name="Vendor: M",
            pricing={
                "prompt": "0.0000025",
                "completion": "0.00001",
                "input_cache_read": "0.00000125",
            },
            architecture={"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            supported_parameters=["tools", "structured_outputs", "temperature"],
            top_provider={"max_completion_tokens": 16_384},
        )
    ]
    offer = listed(endpoint(openai)).offers[0]
    assert (offer.name, offer.max_output_tokens) == ("Vendor: M", 16_384)
    assert offer.price is not None
    assert offer.price.as_dict() == {
        "input": "2.5",
        "output": "10",
        "cached_input": "1.25",
        "source": "provider",
    }
    assert set(offer.capabilities or ()) == {
        Capability.TEXT_GENERATION,
        Capability.CHAT_COMPLETION,
        Capability.STREAMING,
        Capability.FUNCTION_CALLING,
        Capability.JSON_MODE,
        Capability.VISION,
    }


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "free", None, True, "1e99", "1" * 50])
def test_a_price_that_is_none_is_unknown(openai: FakeOpenAI, amount: object) -> None:
    pricing = {"prompt": amount, "completion": "0.00001"}
    openai.models = [openai_server.model("m", pricing=pricing)]
    assert listed(endpoint(openai)).offers[0].price is None


def test_a_free_model_costs_nothing_and_is_not_unknown(openai: FakeOpenAI) -> None:
    openai.models = [openai_server.model("m", pricing={"prompt": "0", "completion": 0})]
    price = listed(endpoint(openai)).offers[0].price
    assert price is not None
    assert (price.input, price.output) == (Decimal(0), Decimal(0))


def test_entries_without_a_name_are_refused_and_the_rest_is_kept(openai: FakeOpenAI) -> None:
    openai.models = [{"object": "model"}, openai_server.model("m"), 5, {"id": 7}]  # type: ignore[list-item]
    found = listed(endpoint(openai))
    assert [offer.remote_id for offer in found.offers] == ["m"]
    assert len(found.refused) == 3


def test_anthropic_is_read_page_by_page(anthropic: FakeAnthropic) -> None:
    anthropic.models = [anthropic_server.model(f"claude-{n:04}") for n in range(2005)]
    found = listed(endpoint(anthropic))
    assert len({offer.remote_id for offer in found.offers}) == 2005
    assert len(anthropic.requests) == 3
    assert anthropic.requests[0].headers["x-api-key"] == anthropic.key


def test_anthropic_tells_windows_limits_and_capabilities(anthropic: FakeAnthropic) -> None:
    offer = listed(endpoint(anthropic)).offers[0]
    assert (offer.context_window, offer.max_output_tokens) == (200_000, 64_000)
    assert offer.capabilities is not None
    assert {Capability.VISION, Capability.REASONING, Capability.JSON_MODE} <= offer.capabilities


def test_what_anthropic_has_retired_is_not_there_and_what_it_will_end_says_so(
    anthropic: FakeAnthropic,
) -> None:
    anthropic.models = [
        anthropic_server.model("old", lifecycle="retired"),
        anthropic_server.model("ageing", lifecycle="deprecated", retires_at="2027-01-31T00:00:00Z"),
    ]
    (offer,) = listed(endpoint(anthropic)).offers
    assert (offer.remote_id, offer.deprecation) == (
        "ageing",
        "Its provider will retire it on 2027-01-31.",
    )


def test_a_list_without_an_end_is_an_error(anthropic: FakeAnthropic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "_MAX_PAGES", 3)
    anthropic.models = [anthropic_server.model(f"claude-{n}") for n in range(5000)]
    with pytest.raises(NoaError, match="does not end"):
        listed(endpoint(anthropic))


@pytest.mark.parametrize(
    ("kind", "given", "used"),
    [
        (ProviderKind.OPENAI, "http://h/v1/", "http://h/v1"),
        (ProviderKind.OPENAI, "https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        (ProviderKind.ANTHROPIC, "https://api.anthropic.com/v1/", "https://api.anthropic.com"),
        (ProviderKind.LLAMA_CPP, "http://h:8080", "http://h:8080/v1"),
        (ProviderKind.LLAMA_CPP, "http://h:8080/v1", "http://h:8080/v1"),
    ],
)
def test_a_base_url_may_be_written_in_the_usual_ways(kind: ProviderKind, given: str, used: str) -> None:
    assert api_url(kind, given) == used
