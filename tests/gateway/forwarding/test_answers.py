"""Successful answers: the bytes that reach the client, and the access records."""

from __future__ import annotations

import json

import pytest

from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import CHAT, EMBEDDER, Served, request


@pytest.mark.parametrize("name", ["current", CHAT, "org/chat-7b.q4"])
def test_it_answers_to_a_route_a_key_and_a_short_name(gateway: Served, name: str) -> None:
    answer = gateway.post({"model": name})
    assert answer.status == 200
    assert answer.body == fake.whole_answer("/v1/chat/completions")
    assert answer.headers["x-noa-model"] == CHAT
    assert answer.headers["x-noa-attempts"] == "1"


@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/chat/completions", CHAT), ("/v1/completions", CHAT), ("/v1/embeddings", EMBEDDER)],
)
def test_every_endpoint_reaches_its_own_path_of_the_runner(
    gateway: Served, upstream: FakeUpstream, path: str, model: str
) -> None:
    assert gateway.post({"model": model}, path).status == 200
    assert upstream.wait_for_exchange().path == path


def test_the_body_reaches_the_runner_byte_for_byte(gateway: Served, upstream: FakeUpstream) -> None:
    raw = b'{ "model" :"current", "x": 1.0e2, "\xc3\xa9": "\\u0041" }'
    assert gateway.ask(request(raw)).status == 200
    assert upstream.wait_for_exchange().body == raw


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_a_stream_passes_without_the_comment_of_its_runner(
    gateway: Served, upstream: FakeUpstream, pieces: int
) -> None:
    """Some clients take no line that begins with a colon. Text of a model that looks like the comment stays."""
    text = fake.event("\n\n: noa {}\n\n")
    sent = text + b"".join(fake.stream_events())
    chunks = [sent[at : at + pieces] for at in range(0, len(sent), pieces)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.raw = head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    upstream.script("raw")
    answer = gateway.post({"model": "current", "stream": True}, x_request_id=f"pieces-{pieces}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body == sent.replace(fake.COMMENT, b"")
    assert gateway.record_of(f"pieces-{pieces}").prompt_tokens == fake.USAGE["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_one_record_tells_all_of_a_request(gateway: Served, stream: bool) -> None:
    rid = f"whole-record-{stream}"
    gateway.post({"model": "current", "stream": stream}, x_request_id=rid)
    record = gateway.record_of(rid)
    assert (record.endpoint, record.key_id, record.route) == (
        "chat/completions",
        "key-1",
        "current",
    )
    assert (record.model_key, record.instance_id) == (CHAT, "instance-org/chat-7b.q4")
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (11, 3, 7)
    assert (record.status, record.stream, record.attempts, record.aborted) == (
        200,
        stream,
        1,
        False,
    )
    assert record.duration_ms > 0
    assert (record.ttft_ms is not None) == stream
    assert record.client == "127.0.0.1"


def test_it_makes_a_request_id_and_takes_a_good_one(gateway: Served, upstream: FakeUpstream) -> None:
    made = gateway.post({"model": "current"}).headers["x-request-id"]
    assert made
    assert upstream.wait_for_exchange().headers["x-request-id"] == made
    assert gateway.post({"model": "current"}, x_request_id="Mine_1-2").headers["x-request-id"] == "Mine_1-2"


@pytest.mark.parametrize("bad", ["a b", "x" * 65, "a;b", "é", "a\tb"])
def test_it_replaces_a_request_id_that_may_not_stand_in_a_log(gateway: Served, bad: str) -> None:
    assert gateway.post({"model": "current"}, x_request_id=bad).headers["x-request-id"] != bad


def test_connections_to_the_runner_are_kept(gateway: Served, upstream: FakeUpstream) -> None:
    gateway.works()
    before = upstream.connections
    for _ in range(20):
        gateway.works()
    assert upstream.connections == before


def test_a_large_answer_passes_without_being_held_whole(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("large")
    answer = gateway.post({"model": "current"}, x_request_id="large")
    assert len(answer.body) > 3 * 1024 * 1024
    assert json.loads(answer.body)["usage"] == fake.USAGE
    assert gateway.record_of("large").completion_tokens == 7


def test_a_runners_error_passes_with_its_code_in_the_record(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("bad_request")
    answer = gateway.post({"model": "current"}, x_request_id="refused")
    assert (answer.status, answer.code) == (400, "context_length_exceeded")
    assert "x-secret" not in answer.headers
    record = gateway.record_of("refused")
    assert (record.status, record.error_code, record.aborted) == (
        400,
        "context_length_exceeded",
        False,
    )


def test_a_busy_runner_is_not_asked_twice(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("busy")
    answer = gateway.post({"model": "current"})
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "queue_full", "3")
    assert answer.headers["x-noa-attempts"] == "1"


def test_pipelined_requests_are_answered_in_order(gateway: Served) -> None:
    with gateway.wire() as wire:
        wire.send(b"".join(request({"model": "current"}, x_request_id=f"p{n}") for n in range(8)))
        assert [wire.answer().headers["x-request-id"] for _ in range(8)] == [f"p{n}" for n in range(8)]


def test_expect_100_continue_is_answered(gateway: Served) -> None:
    with gateway.wire() as wire:
        head, _, body = request({"model": "current"}, expect="100-continue").partition(b"\r\n\r\n")
        wire.send(head + b"\r\n\r\n")
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        assert wire.send(body).answer().status == 200


def test_a_chunked_body_is_taken(gateway: Served) -> None:
    body = b'c\r\n{"model": "c\r\n8\r\nurrent"}\r\n0\r\n\r\n'
    data = request(body, content_length="", transfer_encoding="chunked")
    assert gateway.ask(data).status == 200
