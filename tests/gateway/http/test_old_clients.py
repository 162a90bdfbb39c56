"""Clients that speak HTTP/1.0, wait for 100, or send their body in unusual chunks."""

from __future__ import annotations

import json

import pytest

from models_app.gateway.http.types import Receive, Scope, Send
from tests.gateway.wire import Served, request, serve

BODY = json.dumps({"model": "current", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({"model": "current", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()


def old(body: bytes, *lines: str) -> bytes:
    """A request of HTTP/1.0."""
    return request(body, **dict(line.split(": ") for line in lines)).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)


@pytest.mark.parametrize("lines", [(), ("connection: keep-alive",), ("connection: close",)])
def test_a_stream_for_http_1_0_has_no_transfer_coding_and_ends_with_the_connection(
    gateway: Served, lines: tuple[str, ...]
) -> None:
    with gateway.wire() as wire:
        answer = wire.send(old(STREAM, *lines)).rest()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("body", [BODY, b"{}"])
def test_a_whole_answer_for_http_1_0_has_a_length(gateway: Served, body: bytes) -> None:
    with gateway.wire() as wire:
        answer = wire.send(old(body)).rest()
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(rest) in head and b"transfer-encoding" not in head
    assert json.loads(rest)


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_client_may_wait_for_100_continue(gateway: Served, body: bytes) -> None:
    whole = request(body, expect="100-continue")
    with gateway.wire() as wire:
        head = whole[: -len(body)]
        assert wire.send(head).until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.send(body).answer().status == 200


CHUNKS = {
    "extensions": b'5;name=value\r\n%b\r\n%x;a;b="c d"\r\n%b\r\n0;last\r\n\r\n',
    "trailers": b"5\r\n%b\r\n%x\r\n%b\r\n0\r\nX-Checksum: abc\r\nServer-Timing: a\r\n\r\n",
    "leading zeros, capitals": b"0005\r\n%b\r\n000%X\r\n%b\r\n000\r\n\r\n",
}


@pytest.mark.parametrize("form", CHUNKS)
def test_chunks_of_every_form_are_read(gateway: Served, form: str) -> None:
    head = request(b"", content_length="", transfer_encoding="chunked")
    body = CHUNKS[form] % (BODY[:5], len(BODY) - 5, BODY[5:])
    with gateway.wire() as wire:
        for _ in range(2):
            assert wire.send(head + body).answer().status == 200


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream of events without a length, as the API's are."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_other_streams_have_no_transfer_coding_either(method: str) -> None:
    with serve("/nowhere.sock", app=endless) as served, served.wire() as wire:
        answer = wire.send(request(b"", "/api/v1/events", method=method).replace(b"HTTP/1.1", b"HTTP/1.0", 1)).rest()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == (b"" if method == "HEAD" else b"data: 0\n\ndata: 1\n\ndata: 2\n\n")
