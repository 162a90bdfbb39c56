"""Providers that violate HTTP or their protocol: none of it reaches the client or the next request."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.forwarding import remote
from models_app.gateway.upstream.connection import Connection
from models_app.gateway.upstream.dialing import Dialer, Origin
from tests.fakes.upstream import FakeUpstream, event
from tests.gateway.forwarding.test_runner_faults import CHUNKED, MALFORMED
from tests.gateway.http.test_fuzz import mutated
from tests.gateway.remotes import CHAT, FAST, GPT, as_new, entry, serve_remote
from tests.gateway.wire import Served, request

FUZZ_CASES = 300
ANSWER = b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'


def whole(body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def stream(*pieces: bytes) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


class SocketDialer(Dialer):
    """Connects every provider to one unix socket, where the fake sends raw bytes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    async def connect(self, origin: Origin, factory: Callable[[], Connection], seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(factory, self._path)
        return connection


@pytest.fixture(scope="module")
def shared(shared_upstream: FakeUpstream) -> Iterator[Served]:
    remote = RemoteEndpoint("openai", ProviderKind.OPENAI, "http://x.example/v1", "gpt-4o", "sk-x")
    with serve_remote(entry(GPT, remote), dialer=SocketDialer(shared_upstream.path), limits=FAST) as served:
        yield served


@pytest.fixture
def served(shared: Served, upstream: FakeUpstream) -> Served:
    return as_new(shared)


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - {"no_length"}))
@pytest.mark.parametrize("stream", [False, True])
def test_a_malformed_answer_is_not_passed_on(served: Served, upstream: FakeUpstream, name: str, stream: bool) -> None:
    upstream.raw = MALFORMED[name]
    upstream.script("raw_hang")
    answer = served.post({"model": GPT, "stream": stream, **CHAT})
    expected = "provider_redirected" if name == "redirect" else "malformed_answer"
    assert (answer.status, answer.code) == (502, expected)
    assert b"evil" not in answer.body
    assert served.post({"model": GPT, **CHAT}).status == 200


WRONG = {
    "compressed twice": whole(gzip.compress(gzip.compress(ANSWER)), b"Content-Encoding: gzip, gzip"),
    "null": whole(b"null"),
    "list": whole(b"[]"),
    "number": whole(b"1"),
    "not_utf8": whole(b'{"a": "\xff"}'),
    "nan": whole(b'{"a": NaN}'),
    "two_objects": whole(ANSWER + ANSWER),
    "deep": whole(b"[" * 100_000),
    "events_unasked": stream(event("one", "stop"), b"data: [DONE]\n\n"),
    "long_and_no_json": whole(b"x" * 3_000_000),
    "no_content": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("raw", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_answer_is_not_passed_on(served: Served, upstream: FakeUpstream, raw: bytes) -> None:
    upstream.raw = raw
    upstream.script("raw")
    answer = served.post({"model": GPT, **CHAT})
    assert (answer.status, answer.code) == (502, "malformed_answer")


def test_headers_of_the_provider_do_not_pass(served: Served, upstream: FakeUpstream) -> None:
    upstream.raw = whole(
        ANSWER,
        b"Content-Type: text/html",
        b"Set-Cookie: a=1",
        b"X-Request-ID: theirs",
        b"X-NOA-Model: theirs",
        b"Location: http://evil.example/",
    )
    upstream.script("raw")
    answer = served.post({"model": GPT, **CHAT})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-noa-model"] == GPT
    assert not {"set-cookie", "location"} & answer.headers.keys()
    assert "theirs" not in answer.headers.values()


def test_counts_that_no_model_has_are_not_stored(served: Served, upstream: FakeUpstream) -> None:
    counts = {"prompt_tokens": 10**18, "completion_tokens": -5, "prompt_tokens_details": "many"}
    upstream.raw = whole(json.dumps({"choices": [], "usage": counts}).encode())
    upstream.script("raw")
    assert served.post({"model": GPT, **CHAT}, x_request_id="lies").status == 200
    record = served.record_of("lies")
    assert 0 < (record.prompt_tokens or 0) < 1000
    assert (record.completion_tokens, record.estimated) == (0, True)
    assert (record.cost_usd or 0) > 0


def test_a_second_answer_is_never_taken_for_the_next_requests(served: Served, upstream: FakeUpstream) -> None:
    upstream.raw = whole(b'{"own": 1}') + whole(b'{"not": 1}')
    upstream.script("raw_hang", "answer")
    assert served.post({"model": GPT, **CHAT}).json == {"own": 1}
    assert "not" not in served.post({"model": GPT, **CHAT}).json


def test_a_flood_is_taken_no_faster_than_the_client_takes_it(served: Served, upstream: FakeUpstream) -> None:
    upstream.script("flood")
    with served.wire() as wire:
        body = {"model": GPT, "stream": True, **CHAT}
        wire.send(request(body)).until(b"data: ")
        exchange = upstream.wait_for_exchange()
    assert exchange.left.wait(10), "the provider's connection was not closed"
    assert upstream.flooded < 64 * 1024 * 1024


def test_it_survives_mutated_answers(served: Served, upstream: FakeUpstream) -> None:
    good = stream(event("one"), event("two", "stop"), b"data: [DONE]\n\n")
    for seed in range(FUZZ_CASES):
        upstream.raw = mutated(good if seed % 2 else whole(ANSWER), seed)
        upstream.script("raw")
        answer = served.post({"model": GPT, "stream": bool(seed % 2), **CHAT})
        assert answer.status in (200, 400, 404, 413, 422, 429, 502, 503, 504), (seed, answer)
        assert answer.status != 200 or b"HTTP/1.1" not in answer.body, seed
        if seed % 10 == 9:
            as_new(served)
            upstream.reset()
            assert served.post({"model": GPT, **CHAT}).status == 200, seed


def test_an_error_without_an_end_is_passed_on_as_far_as_it_arrives(
    served: Served, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_ERROR_BODY_SECONDS", 0.2)
    upstream.raw = b'HTTP/1.1 402 No\r\nContent-Type: application/json\r\n\r\n{"error": {"message": "No credit."}}'
    upstream.script("raw_hang")
    answer = served.post({"model": GPT, **CHAT})
    assert answer.status == 402
    assert "No credit." in answer.json["error"]["message"]
