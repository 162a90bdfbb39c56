"""A route whose target cannot answer: the order of its fallbacks, the client's answer, and the record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes import provider_faults
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.upstream import FakeUpstream
from tests.gateway.remotes import CHAT, FAST, GPT, as_new, endpoint, entry, serve_remote
from tests.gateway.wire import CHAT as LOCAL
from tests.gateway.wire import COLD, EMBEDDER, Served

SPARE = "spare:gpt-4o"


@pytest.fixture(scope="module")
def fakes() -> Iterator[tuple[FakeOpenAI, FakeOpenAI]]:
    with FakeOpenAI() as first, FakeOpenAI() as second:
        yield first, second


@pytest.fixture(scope="module")
def shared(fakes: tuple[FakeOpenAI, FakeOpenAI], shared_upstream: FakeUpstream) -> Iterator[Served]:
    """`smart` tries a provider, then another, then the runner; the targets of the other routes cannot answer."""
    first, second = fakes
    models = [
        entry(GPT, endpoint(first, ProviderKind.OPENAI, "gpt-4o")),
        entry(SPARE, endpoint(second, ProviderKind.OPENAI, "gpt-4o", provider="spare")),
    ]
    routes: dict[str, str | None] = {"smart": GPT, "cold": COLD, "local": LOCAL, "none": None}
    fallbacks = {
        "smart": (SPARE, LOCAL),
        "cold": ("gone:model", EMBEDDER, COLD, SPARE),
        "local": (GPT,),
        "none": (GPT,),
    }
    with serve_remote(*models, runner=shared_upstream.path, routes=routes, fallbacks=fallbacks, limits=FAST) as running:
        yield running


@pytest.fixture
def served(shared: Served, fakes: tuple[FakeOpenAI, FakeOpenAI], shared_upstream: FakeUpstream) -> Served:
    for fake in (*fakes, shared_upstream):
        fake.reset()
    return as_new(shared)


def test_the_target_answers_while_it_can(served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    answer = served.post({"model": "smart", **CHAT})
    assert answer.headers["x-noa-model"] == GPT
    assert not fakes[1].requests


@pytest.mark.parametrize(
    "word",
    ["status_500", "html_page", "bad_key", "hang_before_headers", "rate_limited_retry_after"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_first_fallback_answers_for_a_provider_that_fails(
    served: Served,
    fakes: tuple[FakeOpenAI, FakeOpenAI],
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    stream: bool,
) -> None:
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "60")
    first, second = fakes
    first.default = word
    body = {"model": "smart", "stream": stream, **CHAT}
    answer = served.post(body, x_request_id="fell")
    assert (answer.status, answer.headers["x-noa-model"]) == (200, SPARE)
    record = served.record_of("fell")
    assert (record.route, record.model_key, record.provider) == ("smart", SPARE, "spare")
    assert record.instance_id == "instance-spare"
    assert record.attempts == len(first.requests) + len(second.requests)
    assert record.prompt_tokens
    assert not record.error_code


def test_a_runner_may_be_the_fallback(
    served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI], shared_upstream: FakeUpstream
) -> None:
    for fake in fakes:
        fake.default = "status_500"
    answer = served.post({"model": "smart", **CHAT})
    assert (answer.status, answer.headers["x-noa-model"]) == (200, LOCAL)
    assert answer.headers["x-noa-attempts"] == "3"


def test_a_provider_may_be_the_fallback_of_a_runner(served: Served, shared_upstream: FakeUpstream) -> None:
    shared_upstream.script("draining", "draining")
    answer = served.post({"model": "local", **CHAT})
    assert (answer.status, answer.headers["x-noa-model"]) == (200, GPT)
    assert answer.headers["x-noa-attempts"] == "3"


def test_what_is_not_loaded_or_cannot_do_it_is_passed_over(served: Served) -> None:
    answer = served.post({"model": "cold", **CHAT})
    assert (answer.status, answer.headers["x-noa-model"]) == (200, SPARE)
    assert answer.headers["x-noa-attempts"] == "1"


def test_a_route_without_a_target_has_its_fallbacks(served: Served) -> None:
    assert served.post({"model": "none", **CHAT}).headers["x-noa-model"] == GPT


def test_what_the_client_did_wrong_is_not_tried_elsewhere(served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    fakes[0].script("context_length_exceeded")
    answer = served.post({"model": "smart", **CHAT})
    assert (answer.status, answer.code) == (400, "context_length_exceeded")
    assert not fakes[1].requests


def test_a_stream_that_has_begun_is_not_begun_again(served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    fakes[0].script("hang_after_headers")
    answer = served.post({"model": "smart", "stream": True, **CHAT})
    assert b'"code":"upstream_timeout"' in answer.body
    assert not fakes[1].requests


def test_when_nobody_answers_the_targets_own_error_is_told(
    served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI], shared_upstream: FakeUpstream
) -> None:
    fakes[0].default = "bad_key"
    fakes[1].default = "status_500"
    shared_upstream.script("close", "close", "close")
    answer = served.post({"model": "smart", **CHAT}, x_request_id="nobody")
    assert (answer.status, answer.code) == (502, "provider_auth_failed")
    record = served.record_of("nobody")
    assert (record.model_key, record.provider) == (GPT, "openai")


def test_a_model_that_is_asked_by_its_key_has_no_fallback(served: Served, fakes: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    fakes[0].default = "status_500"
    assert served.post({"model": GPT, **CHAT}).status == 502
    assert not fakes[1].requests
