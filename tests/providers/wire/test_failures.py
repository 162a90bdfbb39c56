"""Errors of a provider have its name, its own message, and a remedy; never a key."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from models_app.domain.errors import InvalidRequest, NoaError
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers import dialects
from models_app.providers.wire.offers import Listing
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.providers.conftest import endpoint


def failure(at: RemoteEndpoint) -> NoaError:
    with pytest.raises(NoaError) as caught:
        asyncio.run(dialects.list_models(at))
    return caught.value


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        ("bad_key", "provider_auth_failed", "Incorrect API key provided"),
        ("rate_limited_retry_after", "provider_rate_limited", "Rate limit reached"),
        ("status_500", "provider_error", "The server had an error"),
        ("status_503_retry_after", "provider_error", "overloaded"),
        ("html_error", "provider_error", "status 502"),
        ("redirect", "provider_redirected", "redirect to"),
        ("bad_json", "malformed_answer", "not JSON"),
        ("html_page", "malformed_answer", "not JSON"),
        ("empty_body", "malformed_answer", "not JSON"),
        ("truncated_body", "provider_unreachable", "before its answer was complete"),
    ],
)
def test_each_failure_has_its_code_and_the_words_of_the_provider(
    openai: FakeOpenAI, behaviour: str, code: str, words: str
) -> None:
    openai.default = behaviour
    error = failure(endpoint(openai))
    assert error.code == code
    assert words in error.message
    assert "'fake'" in error.message
    assert len(error.message) < 1000


def test_a_redirect_is_not_followed(openai: FakeOpenAI) -> None:
    openai.script("redirect")
    failure(endpoint(openai))
    assert len(openai.requests) == 1


def test_the_time_to_wait_is_kept(openai: FakeOpenAI) -> None:
    openai.script("rate_limited_retry_after")
    assert failure(endpoint(openai)).retry_after == 2


def test_a_missing_key_is_told_otherwise_than_a_wrong_one(openai: FakeOpenAI) -> None:
    assert "does not accept" in failure(endpoint(openai, api_key="sk-wrong")).message
    assert "NOA has none" in failure(endpoint(openai, api_key="")).message


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        at = RemoteEndpoint("gone", ProviderKind.OPENAI, address, "", "", allow_private=True)
        assert failure(at).code == "provider_unreachable"


def test_a_server_that_hangs_is_given_up(openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "models_app.providers.wire.client.Client.request.__kwdefaults__",
        {
            "query": None,
            "body": None,
            "seconds": 0.05,
        },
    )
    openai.default = "hang_before_headers"
    assert failure(endpoint(openai)).code == "provider_timeout"


def test_a_name_that_leads_into_the_private_network_is_refused(openai: FakeOpenAI) -> None:
    at = endpoint(openai, base_url=openai.base_url.replace("127.0.0.1", "localhost"))
    error = failure(replace(at, allow_private=False))
    assert error.code == "address_not_allowed"
    assert "allow_private_addresses" in error.message
    assert openai.requests == []


def test_a_private_address_is_refused_before_anything_is_sent(openai: FakeOpenAI) -> None:
    with pytest.raises(InvalidRequest, match="does not connect to by default"):
        asyncio.run(dialects.list_models(replace(endpoint(openai), allow_private=False)))
    assert openai.requests == []


def test_an_answer_without_end_is_cut_off(openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_app.providers.wire.official.MAX_ANSWER_BYTES", 100)
    assert failure(endpoint(openai)).code == "malformed_answer"


def test_a_provider_that_repeats_the_key_does_not_get_it_into_the_message(
    openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fakes.provider_faults import Refusal

    said = Refusal(401, "auth", f"Incorrect API key provided: {openai.key} (sk-fa****nai).")
    monkeypatch.setattr(openai, "refuse", lambda request: said)
    message = failure(endpoint(openai)).message
    assert openai.key not in message
    assert "sk-fa" not in message


CHECKS = [
    (ProviderKind.OPENAI, "gpt-4o", ["/v1/models/gpt-4o"]),
    (ProviderKind.LLAMA_CPP, "gpt-4o", ["/v1/chat/completions"]),
]


@pytest.mark.parametrize(("kind", "model", "paths"), CHECKS)
def test_a_model_is_checked_by_one_call(openai: FakeOpenAI, kind: ProviderKind, model: str, paths: list[str]) -> None:
    asyncio.run(dialects.check_model(endpoint(openai, kind, model_id=model)))
    assert [request.path for request in openai.requests] == paths


def test_a_model_of_anthropic_is_checked_by_its_entry(anthropic: FakeAnthropic) -> None:
    name = "claude-haiku-4-5-20251001"
    asyncio.run(dialects.check_model(endpoint(anthropic, model_id=name)))
    assert [request.path for request in anthropic.requests] == [f"/v1/models/{name}"]


def test_an_unknown_model_is_told_with_the_words_of_the_provider(openai: FakeOpenAI, anthropic: FakeAnthropic) -> None:
    for fake in (openai, anthropic):
        with pytest.raises(NoaError) as caught:
            asyncio.run(dialects.check_model(endpoint(fake, model_id="nope")))
        assert caught.value.code == "provider_model_not_found"
        assert "nope" in caught.value.message


def test_a_model_for_embeddings_is_checked_by_a_vector(openai: FakeOpenAI) -> None:
    at = endpoint(openai, ProviderKind.LLAMA_CPP, model_id="text-embedding-3-small")
    openai.script("context_length_exceeded", path="/v1/chat/completions")
    asyncio.run(dialects.check_model(at))
    assert [request.path for request in openai.requests] == [
        "/v1/chat/completions",
        "/v1/embeddings",
    ]


def test_all_are_asked_at_once_and_a_dead_one_holds_up_nobody(openai: FakeOpenAI, anthropic: FakeAnthropic) -> None:
    openai.default = "hang_before_headers"
    ends = [
        replace(endpoint(openai), provider="dead"),
        replace(endpoint(anthropic), provider="live"),
    ]

    class Enough(Exception):
        pass

    def poll() -> None:
        if openai.requests and found:
            raise Enough

    found: dict[str, Listing | NoaError] = {}
    with pytest.raises(Enough):
        for slug, outcome in dialects.list_all(ends, poll=poll):
            found[slug] = outcome
    assert list(found) == ["live"]
    openai.wait_for_request(1).left.wait(5)


def test_a_model_that_another_noa_has_not_loaded_is_asked_for_a_token(openai: FakeOpenAI) -> None:
    openai.models[0]["noa"] = {"kind": "model", "loaded": False}
    openai.script("status_503_retry_after", path="/v1/chat/completions")
    with pytest.raises(NoaError, match="overloaded"):
        asyncio.run(dialects.check_model(endpoint(openai, model_id="gpt-4o")))
