"""Streams that have nothing to send yet: pings of each dialect, and what follows them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from models_app.domain.errors import LoadFailed
from models_app.domain.provider_kinds import ProviderKind
from models_app.gateway.http.request_body import Limits
from tests.fakes.upstream import FakeUpstream
from tests.gateway.model_loader import FakeModelLoader
from tests.gateway.raw_provider import RawProvider, Step, Then, answer, head
from tests.gateway.remotes import GPT, endpoint, entry, serve_remote, with_models
from tests.gateway.routing.test_pending import loaded
from tests.gateway.wire import CHAT as LOCAL
from tests.gateway.wire import COLD, DEADLINE, KEY, Served, Wire, request

LIMITS = Limits(wait_seconds=DEADLINE, ping_seconds=0.1)
COMMENT = b": ping\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
MESSAGES = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}

# By path: the fields of a request, the ping, and the text that ends a whole stream.
DIALECTS: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
    "/v1/chat/completions": (MESSAGES, COMMENT, b"data: [DONE]"),
    "/v1/completions": ({"prompt": "hi"}, COMMENT, b"data: [DONE]"),
    "/v1/responses": ({"input": "hi"}, COMMENT, b'"type":"response.completed"'),
    "/v1/messages": (MESSAGES, PING, b'"type":"message_stop"'),
}
every_dialect = pytest.mark.parametrize("path", DIALECTS)

CHUNKS = b"".join(
    b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"
    for choice in (
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"index": 0, "delta": {"content": "Hello"}, "text": "Hello", "finish_reason": None},
        {"index": 0, "delta": {}, "text": "", "finish_reason": "stop"},
    )
)
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}\n\n'
DONE = b"data: [DONE]\n\n"
OVERLOADED = b'{"error": {"message": "Out of credits.", "type": "billing_error", "code": "no_credits"}}'
CHUNKED = head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture(scope="module")
def shared(shared_upstream: FakeUpstream) -> Iterator[tuple[Served, RawProvider, FakeModelLoader]]:
    provider = RawProvider(lambda number, on_connection: [])
    loader = FakeModelLoader()
    remote = entry(GPT, endpoint(provider, ProviderKind.OPENAI, "gpt-4o"))  # type: ignore[arg-type]
    routes: dict[str, str | None] = {"smart": GPT}
    with serve_remote(
        remote,
        runner=shared_upstream.path,
        routes=routes,
        fallbacks={"smart": (LOCAL,)},
        limits=LIMITS,
        loader=loader,
    ) as served:
        yield served, provider, loader
    provider.close()


@pytest.fixture
def served(shared: tuple[Served, RawProvider, FakeModelLoader], upstream: FakeUpstream) -> Served:
    shared[0].gateway._relay._remote._circuits._circuits.clear()
    return shared[0]


@pytest.fixture
def provider(shared: tuple[Served, RawProvider, FakeModelLoader]) -> RawProvider:
    return shared[1]


@pytest.fixture
def loader(shared: tuple[Served, RawProvider, FakeModelLoader]) -> FakeModelLoader:
    return shared[2]


def asked(wire: Wire, path: str, model: str, request_id: str) -> bytes:
    """Sends the request for a stream, and returns everything up to its second ping."""
    fields, ping, _ = DIALECTS[path]
    wire.send(request({"model": model, "stream": True, **fields}, path, x_request_id=request_id, connection="close"))
    begun = wire.until(ping) + wire.until(ping)
    assert begun.startswith(b"HTTP/1.1 200") and b"content-type: text/event-stream" in begun
    return begun


@every_dialect
def test_a_prompt_that_is_read_for_long(served: Served, upstream: FakeUpstream, path: str) -> None:
    upstream.script("held")
    with served.wire() as wire:
        begun = asked(wire, path, LOCAL, f"held-{path.count('m')}{len(path)}")
        assert f"x-noa-model: {LOCAL}".encode() in begun
        upstream.go.set()
        rest = wire.rest()
    assert DIALECTS[path][2] in rest and b"fox" in rest
    record = served.record_of(f"held-{path.count('m')}{len(path)}")
    assert (record.status, record.error_code, record.aborted, record.completion_tokens) == (200, "", False, 7)
    # Not the time of a ping.
    assert record.ttft_ms is not None and record.ttft_ms > 150


@every_dialect
def test_a_model_that_is_loaded_meanwhile(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, path: str
) -> None:
    before = served.source.current
    with served.wire() as wire:
        asked(wire, path, "cold", f"cold-{len(path)}")
        served.source.current = with_models(
            before, loaded(upstream.path).models[COLD], fallbacks=dict(before.fallbacks)
        )
        rest = wire.rest()
    served.source.current = before
    assert DIALECTS[path][2] in rest
    assert served.record_of(f"cold-{len(path)}").status == 200


@every_dialect
def test_an_error_after_pings_is_an_event_and_is_recorded_as_the_error(
    served: Served, loader: FakeModelLoader, path: str
) -> None:
    with served.wire() as wire:
        asked(wire, path, "cold", f"failed-{len(path)}")
        served.gateway.pending.end_wait(COLD, LoadFailed("The file has no tensors.", stage="load"))
        rest = wire.rest()
    assert b"The file has no tensors." in rest and rest.endswith(b"0\r\n\r\n")
    assert b"HTTP/1.1" not in rest
    record = served.record_of(f"failed-{len(path)}")
    assert (record.status, record.error_code, record.aborted, record.ttft_ms) == (502, "load_failed", False, None)


@every_dialect
def test_a_refusal_after_pings(served: Served, upstream: FakeUpstream, path: str) -> None:
    upstream.script("held_refusal")
    with served.wire() as wire:
        asked(wire, path, LOCAL, f"refused-{len(path)}")
        upstream.go.set()
        rest = wire.rest()
    assert b"Too long." in rest and b"HTTP/1.1" not in rest
    record = served.record_of(f"refused-{len(path)}")
    assert (record.status, record.error_code) == (400, "context_length_exceeded")


@every_dialect
@pytest.mark.parametrize("failure", ["closed", "refused", "error event"])
def test_a_fallback_answers_after_pings(
    served: Served, provider: RawProvider, upstream: FakeUpstream, path: str, failure: str
) -> None:
    go = threading.Event()
    steps: dict[str, list[Step]] = {
        "closed": [CHUNKED + chunk(b": working\n\n"), go, Then.CLOSE],
        "refused": [go, answer(OVERLOADED, status="402 Payment Required")],
        "error event": [CHUNKED + chunk(b": working\n\n"), go, chunk(b"data: " + OVERLOADED + b"\n\n"), Then.CLOSE],
    }
    provider.script = lambda number, on_connection: steps[failure]
    with served.wire() as wire:
        asked(wire, path, "smart", f"{len(path)}-{failure[0]}")
        go.set()
        rest = wire.rest()
    assert DIALECTS[path][2] in rest and b"fox" in rest
    record = served.record_of(f"{len(path)}-{failure[0]}")
    assert (record.status, record.model_key, record.attempts) == (200, LOCAL, 2)


@every_dialect
def test_a_providers_own_pings_arrive(served: Served, provider: RawProvider, path: str) -> None:
    """Sooner than the gateway's own, and neither as the first token nor beside other events."""
    events = [threading.Event() for _ in range(3)]
    pings = b": processing\n\n: still\n\n"
    provider.script = lambda number, on_connection: [
        CHUNKED + chunk(pings + CHUNKS[:20]),
        events[0],
        chunk(CHUNKS[20:] + pings + USAGE + DONE) + b"0\r\n\r\n",
    ]
    fields, ping, last = DIALECTS[path]
    with served.wire() as wire:
        asked(wire, path, GPT, f"pinged-{len(path)}")
        events[0].set()
        rest = wire.rest()
    assert last in rest and b"Hello" in rest
    assert b"processing" not in rest and b"still" not in rest
    assert ping not in rest.partition(b"Hello")[2]
    assert served.record_of(f"pinged-{len(path)}").completion_tokens == 2


def test_pings_stop_with_the_request(served: Served, upstream: FakeUpstream) -> None:
    upstream.script("held")
    with served.wire() as wire:
        asked(wire, "/v1/chat/completions", LOCAL, "left-early")
    record = served.record_of("left-early")
    assert (record.status, record.error_code, record.aborted) == (499, "client_left", True)


def test_a_whole_answer_gets_none(served: Served, upstream: FakeUpstream) -> None:
    upstream.script("held")
    with served.wire() as wire:
        wire.send(request({"model": LOCAL, **MESSAGES}))
        upstream.wait_for_exchange()
        wire.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.until(b"HTTP")
        upstream.go.set()
    with served.wire() as wire:
        assert wire.send(request({"model": LOCAL, **MESSAGES})).answer().status == 200


def test_the_official_clients_read_them(served: Served, upstream: FakeUpstream) -> None:
    url = f"http://127.0.0.1:{served.port}"
    upstream.script("held_briefly", "held_briefly", "held_briefly")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        chat = client.chat.completions.create(
            model=LOCAL, stream=True, messages=[{"role": "user", "content": "hi"}], max_tokens=9
        )
        assert "".join(part.choices[0].delta.content or "" for part in chat if part.choices) == "The quick brown fox"
        with client.responses.stream(model=LOCAL, input="hi") as events:
            assert events.get_final_response().output_text == "The quick brown fox"
    with (
        anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as other,
        other.messages.stream(model=LOCAL, max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as message,
    ):
        assert message.get_final_text() == "The quick brown fox"
