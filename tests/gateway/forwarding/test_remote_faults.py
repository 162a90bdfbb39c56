"""Providers that fail: the client's error, the number of attempts, and the record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes import provider_faults
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_faults import Refusal
from tests.fakes.provider_server import Recorded
from tests.gateway.remotes import CHAT, FAST, GPT, as_new, drop_idle, endpoint, entry, serve_remote
from tests.gateway.wire import Served, request


class Told(NamedTuple):
    """The expected result. Of the `calls` that reach the provider the first follows the script."""

    status: int
    code: str
    calls: int = 1
    counted: bool = False


OK = Told(200, "", counted=True)
CUT = Told(502, "provider_disconnected")
TIMEOUT = Told(504, "upstream_timeout")
MALFORMED = Told(502, "malformed_answer")
# A stream that began ends with an error event with this code; its status has been sent.
BEGUN = 200

FAULTS: dict[str, tuple[Told, Told]] = {
    # behaviour: (not streamed, streamed)
    "bad_json": (MALFORMED, Told(BEGUN, "malformed_answer")),
    "bad_key": (Told(502, "provider_auth_failed"),) * 2,
    "close_before_headers": (OK._replace(calls=2),) * 2,
    "context_length_exceeded": (Told(400, "context_length_exceeded"),) * 2,
    "cut_mid_stream": (CUT, Told(BEGUN, "provider_disconnected")),
    "empty_body": (MALFORMED, CUT),
    "error_event_mid_stream": (Told(502, "provider_error"), Told(BEGUN, "provider_error")),
    "hang_after_headers": (TIMEOUT, Told(BEGUN, "upstream_timeout")),
    "hang_before_events": (TIMEOUT, TIMEOUT),
    "hang_before_headers": (TIMEOUT, TIMEOUT),
    "html_error": (OK._replace(calls=2),) * 2,
    "html_page": (MALFORMED, MALFORMED),
    "huge_line": (OK._replace(counted=False), Told(BEGUN, "malformed_answer")),
    "no_done": (OK, OK),
    "no_usage": (OK._replace(counted=False),) * 2,
    "overloaded_529": (OK._replace(calls=2),) * 2,
    "rate_limited_retry_after": (OK._replace(calls=2),) * 2,
    "redirect": (Told(502, "provider_redirected"),) * 2,
    "slow_tokens": (OK, OK),
    "status_500": (Told(502, "provider_error"),) * 2,
    "status_503_retry_after": (OK._replace(calls=2),) * 2,
    "usage_in_chunk_with_choices": (OK, OK),
    "wrong_content_type": (OK, OK),
}
# The provider states that it did no work: nothing is charged.
FREE = {"bad_key", "context_length_exceeded", "redirect", "status_500"}
# The good events and the fault can arrive in one piece: then nothing was sent, and the error has an HTTP status.
MAY_COME_AT_ONCE = {"bad_json", "cut_mid_stream", "error_event_mid_stream", "huge_line"}
CASES = [
    pytest.param(word, stream, told[stream], id=f"{word}-{'stream' if stream else 'whole'}")
    for word, told in FAULTS.items()
    for stream in (False, True)
]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def shared(fake: FakeOpenAI) -> Iterator[Served]:
    model = entry(GPT, endpoint(fake, ProviderKind.OPENAI, "gpt-4o"))
    with serve_remote(model, limits=FAST) as running:
        yield running


@pytest.fixture
def served(shared: Served, fake: FakeOpenAI) -> Served:
    fake.reset()
    return as_new(shared)


@pytest.mark.parametrize(("word", "stream", "told"), CASES)
def test_a_fault_of_a_provider_is_told(
    served: Served,
    fake: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    stream: bool,
    told: Told,
) -> None:
    # Only the wait itself matters here, not its length.
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "0")
    fake.script(word)
    answer = served.post({"model": GPT, "stream": stream, **CHAT}, x_request_id="fault")
    record = served.record_of("fault")
    if stream and word in MAY_COME_AT_ONCE and answer.status == 502:
        told = told._replace(status=502)
    assert (answer.status, record.error_code) == (told.status, told.code)
    assert len(fake.requests) == told.calls == record.attempts
    assert [request.path for request in fake.requests] == ["/v1/chat/completions"] * told.calls
    if told.status != 200:
        error = answer.json["error"]
        assert (error["code"], error["details"]["provider"]) == (told.code, "openai")
        assert answer.headers["content-type"] == "application/json"
    elif told.code:
        assert answer.body.rstrip().endswith(b"}") and b"[DONE]" not in answer.body
        assert f'"code":"{told.code}"'.encode() in answer.body.split(b"\n\n")[-2]
        assert record.aborted
    elif stream:
        assert answer.body.endswith(b"data: [DONE]\n\n")
    if word in FREE or (word, stream) == ("error_event_mid_stream", False):
        assert (record.prompt_tokens, record.cost_usd) == (None, None)
    else:
        assert (record.prompt_tokens or 0) > 0 and (record.completion_tokens or 0) > 0
        assert (record.cost_usd or 0) > 0
        # The connection that closed without an answer can have cost as much as the one after it.
        assert record.estimated is (not told.counted or word == "close_before_headers")
    assert record.provider == "openai"
    assert fake.key.encode() not in answer.body


def test_the_words_of_the_provider_are_kept(served: Served, fake: FakeOpenAI) -> None:
    fake.script("context_length_exceeded")
    error = served.post({"model": GPT, **CHAT}).json["error"]
    assert "maximum context length is 128000 tokens" in error["message"]
    assert (error["param"], error["type"]) == ("messages", "invalid_request_error")


def test_a_rate_limit_that_stays_is_passed_on_and_kept_to(served: Served, fake: FakeOpenAI) -> None:
    fake.default = "rate_limited_retry_after"
    first = served.post({"model": GPT, **CHAT})
    assert (first.status, first.code, first.headers["retry-after"]) == (
        429,
        "provider_rate_limited",
        "2",
    )
    calls = len(fake.requests)
    second = served.post({"model": GPT, **CHAT})
    assert (second.status, second.code) == (429, "provider_rate_limited")
    assert 1 <= int(second.headers["retry-after"]) <= 2
    assert len(fake.requests) == calls == 2


def test_a_kept_connection_that_was_closed_is_replaced_unseen(served: Served, fake: FakeOpenAI) -> None:
    assert served.post({"model": GPT, **CHAT}).status == 200
    drop_idle(served)
    answer = served.post({"model": GPT, **CHAT})
    assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "1")


def test_a_provider_that_is_not_there_is_unreachable(served: Served, fake: FakeOpenAI) -> None:
    with FakeOpenAI() as gone:
        remote = endpoint(gone, ProviderKind.OPENAI, "gpt-4o", provider="gone")
    served.source.current.models["gone:gpt-4o"] = entry("gone:gpt-4o", remote)  # type: ignore[index]
    answer = served.post({"model": "gone:gpt-4o", **CHAT})
    assert (answer.status, answer.code) == (502, "provider_unreachable")
    assert answer.headers["x-noa-attempts"] == "2"


def test_a_server_that_refuses_stream_options_is_asked_without_them_from_then_on(
    served: Served, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeOpenAI.refuse

    def refuse(self: FakeOpenAI, recorded: Recorded) -> Refusal | None:
        if "stream_options" in recorded.body:
            return Refusal(400, "invalid_request_error", "Unknown field: stream_options")
        return real(self, recorded)

    monkeypatch.setattr(FakeOpenAI, "refuse", refuse)
    for attempts in ("2", "1"):
        answer = served.post({"model": GPT, "stream": True, **CHAT})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, attempts)
        assert answer.body.endswith(b"data: [DONE]\n\n")
    assert "stream_options" not in fake.requests[-1].body


def test_a_client_that_leaves_ends_its_request_at_the_provider(served: Served, fake: FakeOpenAI) -> None:
    fake.script("hang_after_headers")
    with served.wire() as wire:
        body = {"model": GPT, "stream": True, **CHAT}
        wire.send(request(body, x_request_id="left")).until(b"data: ")
    assert fake.wait_for_request().left.wait(10), "the provider's connection was not closed"
    assert served.record_of("left").aborted


def test_a_slow_drip_is_ended_when_its_time_is_up(fake: FakeOpenAI) -> None:
    fake.reset()
    fake.script("slow_tokens")
    remote = endpoint(fake, ProviderKind.OPENAI, "gpt-4o", total_seconds=0.12)
    with serve_remote(entry(GPT, remote)) as served:
        answer = served.post({"model": GPT, "stream": True, **CHAT})
    assert b'"code":"upstream_timeout"' in answer.body and b"[DONE]" not in answer.body
