"""Clients that disconnect, read slowly or send slowly."""

from __future__ import annotations

import socket

import pytest

from models_app.gateway.http.server import FrontProtocol
from tests.fakes.upstream import DEADLINE, FakeUpstream, event
from tests.gateway.wire import KEY, Served, Wire, request, serve, wait_until


@pytest.mark.parametrize(
    ("word", "stream"),
    [("hang", False), ("hang", True), ("hang_in_body", False), ("hang_in_stream", True)],
)
def test_a_client_that_leaves_stops_the_runner(
    gateway: Served, upstream: FakeUpstream, word: str, stream: bool
) -> None:
    rid = f"left-{word}-{stream}"
    upstream.script(word)
    with gateway.wire() as wire:
        wire.send(request({"model": "current", "stream": stream}, x_request_id=rid))
        exchange = upstream.wait_for_exchange()
        if word == "hang_in_stream":
            wire.until(event("one"))
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"
    record = gateway.record_of(rid)
    assert (record.status, record.aborted, record.error_code) == (499, True, "client_left")
    gateway.works()


def test_a_client_that_leaves_when_it_has_read_done_has_had_its_answer(gateway: Served, upstream: FakeUpstream) -> None:
    """The official client closes there, before the last bytes of the transfer have arrived."""
    upstream.script("hang_after_done")
    with gateway.wire() as wire:
        wire.send(request({"model": "current", "stream": True}, x_request_id="done"))
        wire.until(b"data: [DONE]")
        exchange = upstream.wait_for_exchange()
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"
    record = gateway.record_of("done")
    assert (record.status, record.aborted, record.error_code) == (200, False, "")
    assert record.completion_tokens is not None


def test_a_client_that_leaves_a_flood_stops_the_runner(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("flood")
    with gateway.wire() as wire:
        wire.send(request({"model": "current", "stream": True})).until(b"data: ")
        exchange = upstream.wait_for_exchange()
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"


def test_a_client_that_leaves_while_it_sends_is_recorded(gateway: Served) -> None:
    with gateway.wire() as wire:
        wire.send(request({"model": "current"}, x_request_id="half-sent")[:-5])
    record = gateway.record_of("half-sent")
    assert (record.status, record.aborted, record.attempts) == (499, True, 0)


def test_a_client_that_leaves_behind_a_queue_of_requests_stops_the_first(
    gateway: Served, upstream: FakeUpstream
) -> None:
    upstream.script("hang")
    with gateway.wire() as wire:
        wire.send(request({"model": "current"}) * 3)
        exchange = upstream.wait_for_exchange()
    assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"
    assert len(upstream.exchanges) == 1


def test_a_hundred_clients_that_leave_leave_nothing_behind(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script(*["hang"] * 100)
    wires = [gateway.wire().send(request({"model": "current"})) for _ in range(100)]
    upstream.wait_for_exchange(100)
    for wire in wires:
        wire.__exit__()
    for exchange in upstream.exchanges:
        assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"
    wait_until(lambda: not gateway.gateway._active, "the requests to end")
    gateway.works()


class Impatient(FrontProtocol):
    header_seconds = 0.3
    body_seconds = 0.3
    write_seconds = 0.3


def slow_reader(port: int) -> Wire:
    """Reads 4 KiB at a time into a small buffer, then stops reading."""
    wire = Wire.__new__(Wire)
    wire.socket = socket.socket()
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.socket.settimeout(DEADLINE)
    wire.socket.connect(("127.0.0.1", port))
    wire._reader = wire.socket.makefile("rb")
    return wire


def test_a_client_that_reads_nothing_is_cut_and_little_is_kept_for_it(
    upstream: FakeUpstream,
) -> None:
    upstream.script("flood")
    with serve(upstream.path, protocol=Impatient) as served, slow_reader(served.port) as wire:
        wire.send(request({"model": "current", "stream": True}, x_request_id="slow"))
        exchange = upstream.wait_for_exchange()
        assert exchange.left.wait(DEADLINE), "the runner's connection was not closed"
        # The kernel's socket buffers take some megabytes; the gateway's own are below one.
        assert upstream.flooded < 16 * 1024 * 1024
        record = served.record_of("slow")
        assert (record.status, record.aborted) == (499, True)


def test_a_slow_client_gets_everything_in_the_end(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("large")
    with slow_reader(gateway.port) as wire:
        wire.send(request({"model": "current"}))
        assert len(wire.answer().body) > 3 * 1024 * 1024


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"P",
        b"POST /v1/chat/completions HT",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    ],
    ids=["nothing", "one_byte", "half_a_line", "half_the_headers"],
)
def test_headers_that_do_not_come_in_time_are_not_waited_for(upstream: FakeUpstream, sent: bytes) -> None:
    with serve(upstream.path, protocol=Impatient) as served, served.wire() as wire:
        assert wire.send(sent).answer().status == 408
        served.works()


def test_a_body_that_does_not_come_in_time_is_not_waited_for(upstream: FakeUpstream) -> None:
    with serve(upstream.path, protocol=Impatient) as served, served.wire() as wire:
        assert wire.send(request({"model": "current"})[:-5]).answer().status == 408
        served.works()


def test_300_half_open_requests_are_gone_after_the_deadline(upstream: FakeUpstream) -> None:
    with serve(upstream.path, protocol=Impatient) as served:
        wires = [served.wire().send(f"GET /v1/models HTTP/1.1\r\nx-{n}: 1\r\n".encode()) for n in range(300)]
        assert {wire.rest()[:12] for wire in wires} == {b"HTTP/1.1 408"}
        wait_until(lambda: not served.server.server_state.connections, "the connections to be closed")
        for wire in wires:
            wire.__exit__()
        served.works()


def test_a_long_answer_outlives_the_deadlines_for_receiving(upstream: FakeUpstream) -> None:
    upstream.script("paced")
    with serve(upstream.path, protocol=Impatient) as served, served.wire() as wire:
        wire.send(request({"model": "current", "stream": True}))
        wire.until(event("one"))
        # Meanwhile another connection ends by its own deadline.
        with served.wire() as other:
            assert other.answer().status == 408
        upstream.go.set()
        wire.until(b"[DONE]")


def test_a_kept_connection_may_rest_between_requests(upstream: FakeUpstream) -> None:
    with serve(upstream.path, protocol=Impatient) as served, served.wire() as wire:
        assert wire.send(request({"model": "current"})).answer().status == 200
        with served.wire() as other:
            assert other.answer().status == 408
        assert wire.send(request({"model": "current"})).answer().status == 200


def test_the_answer_to_a_bad_key_comes_before_the_body(gateway: Served) -> None:
    with gateway.wire() as wire:
        head = request(b"x" * 1000, authorization=f"Bearer {KEY}x").partition(b"\r\n\r\n")[0]
        assert wire.send(head + b"\r\n\r\n").answer().status == 401
