"""Shutdown: requests in flight finish, new ones get 503, every record is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fakes.upstream import FakeUpstream, event
from tests.gateway.wire import DEADLINE, Served, request, serve, snapshot, wait_until

STREAM = request({"model": "current", "stream": True}, x_request_id="streaming")


def closing(served: Served, deadline: float) -> Callable[[], None]:
    """Starts to close the gateway; the returned call waits for the end."""
    future = asyncio.run_coroutine_threadsafe(served.gateway.close(deadline), served.loop)
    wait_until(lambda: served.gateway._closing, "the gateway to begin closing")
    return lambda: future.result(DEADLINE)


def test_streams_are_finished_and_new_requests_refused(upstream: FakeUpstream) -> None:
    upstream.script("paced")
    with serve(upstream.path) as served, served.wire() as wire:
        wire.send(STREAM).until(event("one"))
        finished = closing(served, DEADLINE)
        refused = served.post({"model": "current"})
        assert (refused.status, refused.code) == (503, "server_stopping")
        assert refused.headers["connection"] == "close"
        assert int(refused.headers["retry-after"]) > 0
        upstream.go.set()
        wire.until(b"[DONE]")
        finished()
        answered = [record for record in served.stored if record.status == 200]
        assert [record.client_request_id for record in answered] == ["streaming"]


def test_what_does_not_end_in_time_is_ended_with_an_error_event(upstream: FakeUpstream) -> None:
    upstream.script("hang_in_stream")
    with serve(upstream.path) as served, served.wire() as wire:
        wire.send(STREAM).until(event("one"))
        closing(served, 0.1)()
        received = wire.until(b"0\r\n\r\n")
        assert b'"code":"server_stopping"' in received
        assert b"[DONE]" not in received
        assert served.record_of("streaming").aborted
        assert upstream.wait_for_exchange().left.wait(DEADLINE), "the runner's connection was not closed"


def test_the_whole_server_stops_while_a_stream_is_open(upstream: FakeUpstream) -> None:
    upstream.script("hang_in_stream")
    with serve(upstream.path, drain_seconds=0.1) as served, served.wire() as wire:
        wire.send(STREAM).until(event("one"))
        served.server.should_exit = True
        assert b'"code":"server_stopping"' in wire.rest()


def test_a_bug_in_the_gateway_is_answered_in_json(
    gateway: Served, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.source.current = snapshot(upstream.path)
    gateway.source.current.short_names["bug"] = []  # type: ignore[index]
    answer = gateway.post({"model": "bug"}, x_request_id="bug")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"Traceback" not in answer.body
    assert gateway.record_of("bug").status == 500
    assert "bug" in caplog.text
    gateway.works()
