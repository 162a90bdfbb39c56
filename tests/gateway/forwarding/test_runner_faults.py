"""A runner that refuses, drains, dies or sends invalid bytes: the retries, and the client's error."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_app.gateway.http.request_body import Limits
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream
from tests.gateway.remotes import OTHER_KEYS, with_models
from tests.gateway.wire import Served, request, serve, snapshot

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"

MALFORMED = {
    "not_http": b"hello there\r\n\r\n",
    "no_length": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "both_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad_length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "status_999": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "bad_status": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "control_in_header": b"HTTP/1.1 200 OK\r\nContent-Type: a\x01b\r\nContent-Length: 2\r\n\r\n{}",
    "101_headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + b"\r\n",
    "endless_header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000,
    "endless_reason": b"HTTP/1.1 200 " + b"a" * 400_000,
    "bad_first_chunk": CHUNKED + b"zz\r\n",
}


def test_a_draining_runner_makes_it_look_again_and_ask_the_new_one(
    gateway: Served, upstream: FakeUpstream, sockets: Path
) -> None:
    with FakeUpstream(str(sockets / "new.sock")) as new:
        gateway.source.next = snapshot(new.path, 2)
        upstream.script("draining")
        answer = gateway.post({"model": "current"}, x_request_id="drained")
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")
        assert len(new.exchanges) == 1
        assert gateway.record_of("drained").attempts == 2
        assert len(gateway.source.reasons) == 1


def test_a_runner_that_drains_twice_is_not_asked_a_third_time(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("draining", "draining", "answer")
    answer = gateway.post({"model": "current"})
    assert (answer.status, answer.code, answer.headers["x-noa-attempts"]) == (503, "draining", "2")
    assert int(answer.headers["retry-after"]) > 0
    assert len(upstream.exchanges) == 2


def test_a_model_that_was_unloaded_meanwhile_is_not_loaded(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("draining")
    gateway.source.next = snapshot(upstream.path, 2, current=None)
    answer = gateway.post({"model": "current"})
    assert (answer.status, answer.code) == (503, "route_without_model")


def test_a_missing_socket_makes_it_look_again(upstream: FakeUpstream, sockets: Path) -> None:
    with serve(str(sockets / "gone.sock")) as served:
        served.source.next = snapshot(upstream.path, 2)
        answer = served.post({"model": "current"})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")


def test_a_socket_that_stays_missing_is_unavailable(sockets: Path) -> None:
    with serve(str(sockets / "gone.sock")) as served:
        answer = served.post({"model": "current"}, x_request_id="gone")
        assert (answer.status, answer.code, answer.headers["x-noa-attempts"]) == (
            503,
            "runner_unreachable",
            "2",
        )
        assert served.record_of("gone").error_code == "runner_unreachable"


def test_a_runner_that_closes_without_a_word_is_asked_once_more(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.close_idle()
    upstream.script("close", "answer")
    answer = gateway.post({"model": "current"})
    assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")


def test_a_runner_that_dies_of_a_request_sees_it_at_most_twice(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.close_idle()
    upstream.script("close", "close", "close", "close")
    answer = gateway.post({"model": "current"})
    assert (answer.status, answer.code) == (502, "runner_died")
    assert len(upstream.exchanges) == 2


def test_a_kept_connection_that_was_closed_is_replaced_unseen(gateway: Served, upstream: FakeUpstream) -> None:
    gateway.works()
    for _ in range(5):
        upstream.close_idle()
        answer = gateway.post({"model": "current"})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "1")


def test_a_runner_that_closes_after_each_answer_is_asked_anew(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script(*["answer_and_close"] * 10)
    for _ in range(10):
        answer = gateway.post({"model": "current"})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "1")


@pytest.mark.parametrize("word", ["half_head", "cut_body", "cut_before_events"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_breaks_before_anything_was_sent_is_asked_for_once_more(
    gateway: Served, upstream: FakeUpstream, word: str, stream: bool
) -> None:
    upstream.script(word, "answer")
    answer = gateway.post({"model": "current", "stream": stream})
    assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")


@pytest.mark.parametrize("word", ["half_head", "cut_body", "cut_before_events"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_breaks_twice_before_anything_was_sent_is_an_error_of_its_own(
    gateway: Served, upstream: FakeUpstream, word: str, stream: bool
) -> None:
    upstream.script(word, word, "answer")
    answer = gateway.post({"model": "current", "stream": stream})
    assert (answer.status, answer.code, answer.headers["x-noa-attempts"]) == (
        502,
        "runner_died",
        "2",
    )
    assert answer.json["error"]["retryable"] is True
    gateway.works()


def test_a_stream_that_is_cut_ends_with_an_error_event_and_no_done(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("cut_stream")
    answer = gateway.post({"model": "current", "stream": True}, x_request_id="cut")
    events = answer.body.split(b"\n\n")
    assert events[:2] == [fake.event("one").strip(), fake.event("two").strip()]
    assert events[2].startswith(b'data: {"error":{') and b'"code":"runner_died"' in events[2]
    assert events[3:] == [b""]
    assert b"[DONE]" not in answer.body
    record = gateway.record_of("cut")
    assert (record.status, record.aborted, record.error_code) == (200, True, "runner_died")


def test_a_stream_that_turns_malformed_ends_with_an_error_event(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.raw = CHUNKED + b"%x\r\n%b\r\nzz\r\n" % (len(fake.event("one")), fake.event("one"))
    upstream.script("raw")
    answer = gateway.post({"model": "current", "stream": True})
    assert answer.body.startswith(fake.event("one"))
    assert b'"code":"malformed_answer"' in answer.body


def test_a_large_answer_that_is_cut_leaves_the_clients_answer_unfinished(
    gateway: Served, upstream: FakeUpstream
) -> None:
    upstream.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 2_000_000
    upstream.script("raw")
    with gateway.wire() as wire:
        received = wire.send(request({"model": "current"}, x_request_id="large-cut")).rest()
    assert 2_000_000 < len(received) < 3_000_000
    record = gateway.record_of("large-cut")
    assert (record.aborted, record.error_code) == (True, "runner_died")


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_malformed_answer_is_not_passed_on(gateway: Served, upstream: FakeUpstream, name: str, stream: bool) -> None:
    upstream.raw = MALFORMED[name]
    upstream.script("raw_hang")
    answer = gateway.post({"model": "current", "stream": stream})
    assert (answer.status, answer.code) == (502, "malformed_answer")
    assert b"evil" not in answer.body
    gateway.works()


def test_a_second_answer_is_never_taken_for_the_next_requests(gateway: Served, upstream: FakeUpstream) -> None:
    one = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"own": 1}\n'
    upstream.raw = one + one.replace(b"own", b"not")
    upstream.script("raw_hang", "answer")
    assert gateway.post({"model": "current"}).json == {"own": 1}
    assert "not" not in gateway.post({"model": "current"}).json


def test_interim_answers_are_skipped(gateway: Served, upstream: FakeUpstream) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    upstream.raw = interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    upstream.script("raw")
    assert gateway.post({"model": "current"}).json == {}


@pytest.mark.parametrize(
    ("word", "stream"),
    [("hang", False), ("hang", True), ("hang_in_body", False), ("hang_in_stream", True)],
)
def test_a_runner_that_hangs_is_given_up(upstream: FakeUpstream, word: str, stream: bool) -> None:
    upstream.script(word)
    limits = Limits(first_byte_seconds=0.8, idle_seconds=0.8)
    with serve(upstream.path, limits=limits) as served:
        answer = served.post({"model": "current", "stream": stream}, x_request_id="hung")
        if word == "hang_in_stream":
            assert answer.body.startswith(fake.event("one"))
            assert b'"code":"upstream_timeout"' in answer.body
        else:
            assert (answer.status, answer.code) == (504, "upstream_timeout")
        assert served.record_of("hung").error_code == "upstream_timeout"
        assert upstream.wait_for_exchange().left.wait(fake.DEADLINE), "the runner's connection was not closed"
        served.works()


def test_a_stream_that_never_ends_is_ended(upstream: FakeUpstream) -> None:
    upstream.script("flood")
    with serve(upstream.path, limits=Limits(total_seconds=0.3)) as served, served.wire() as wire:
        received = wire.send(request({"model": "current", "stream": True})).until(b"0\r\n\r\n")
    assert b'"code":"upstream_timeout"' in received
    assert b"longer than 0.3 seconds" in received


@pytest.mark.parametrize("word", ["bad_request", "busy", "raw"])
def test_what_one_client_meets_at_a_runner_holds_up_no_other(
    gateway: Served, upstream: FakeUpstream, word: str
) -> None:
    gateway.source.current = with_models(gateway.source.current)
    upstream.raw = MALFORMED["not_http"]
    for _ in range(12):
        upstream.script(word)
        assert gateway.post({"model": "current"}).status >= 400
    answer = gateway.post({"model": "current"}, authorization=f"Bearer {OTHER_KEYS[0]}")
    assert answer.status == 200
    assert answer.headers["x-noa-attempts"] == "1"


def test_an_error_of_a_runner_has_a_length(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.raw = b"HTTP/1.1 500 No\r\n\r\n{}"
    upstream.script("raw")
    assert gateway.post({"model": "current"}).code == "malformed_answer"
