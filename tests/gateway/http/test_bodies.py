"""All bodies of a process together are bounded, and no owner gets all of the room."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.http.bodies import ANONYMOUS, Bodies, BodiesFull, Body
from models_app.gateway.http.request_body import Limits
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import EXPIRED_KEY, READER_KEY, Wire, request, serve, wait_until

OTHER = "noa_other_key"
LIMIT = 256 * 1024


def test_an_owner_gets_half_of_the_room_and_all_without_a_key_a_sixteenth() -> None:
    bodies = Bodies(1600)
    mine, yours, anonymous = Body(bodies, "mine"), Body(bodies, "yours"), Body(bodies)
    mine.grow_to(800)
    for body in (Body(bodies, "mine"), mine):
        with pytest.raises(BodiesFull) as caught:
            body.grow_to(body.size + 1)
        assert (caught.value.http_status, caught.value.retry_after) == (503, 2)
    anonymous.grow_to(100)
    with pytest.raises(BodiesFull):
        Body(bodies).grow_to(1)
    yours.grow_to(700)
    with pytest.raises(BodiesFull):
        yours.grow_to(701)
    for body in (mine, yours, anonymous):
        body.free()
    assert bodies.held == 0
    Body(bodies, "yours").grow_to(800)


STEPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([ANONYMOUS, "a", "b"]), st.integers(0, 700)), max_size=60)


@given(steps=STEPS)
def test_what_is_held_is_the_sum_of_the_bodies_and_below_the_bound(steps: list[tuple[int, str, int]]) -> None:
    bodies = Bodies(1600)
    living = [Body(bodies) for _ in range(6)]
    for index, owner, size in steps:
        body = living[index]
        with contextlib.suppress(BodiesFull):
            body.hand_to(owner)
            body.grow_to(size)
        if size % 7 == 0:
            body.free()
        assert bodies.held == sum(one.size for one in living) <= 1600
        for name, share in ((ANONYMOUS, 100), ("a", 800), ("b", 800)):
            assert sum(one.size for one in living if one.owner == name) <= share
    for body in living:
        body.free()
    assert bodies.held == 0


def _half_sent(wire: Wire, *, announced: bool) -> None:
    """A body of LIMIT bytes of which all but the end has been sent."""
    if announced:
        wire.send(request(b"x" * LIMIT)[:-1])
    else:
        head = request(b"", content_length="", transfer_encoding="chunked")
        wire.send(head + b"%x\r\n%b\r\n" % (LIMIT, b"x" * LIMIT))


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_in_progress_take_their_share_until_their_requests_end(upstream: FakeUpstream, announced: bool) -> None:
    bodies = Bodies(4 * LIMIT)
    with serve(upstream.path, limits=Limits(max_body_bytes=LIMIT), bodies=bodies) as served:
        keys = {**served.source.current.keys, hash_api_key(OTHER): KeyEntry("key-9", frozenset({"infer"}), None)}
        object.__setattr__(served.source.current, "keys", keys)
        with served.wire() as first, served.wire() as second:
            for wire in (first, second):
                _half_sent(wire, announced=announced)
            wait_until(lambda: bodies.held == 2 * LIMIT, "both bodies to be counted")
            refused = served.post({"model": "current"})
            assert (refused.status, refused.code) == (503, "bodies_full")
            assert int(refused.headers["retry-after"]) > 0
            assert served.post({"model": "current"}, authorization=f"Bearer {OTHER}").status == 200
        wait_until(lambda: bodies.held == 0, "the clients that left to be noticed")
        served.works()
        assert bodies.held == 0


def test_a_request_holds_its_body_while_it_is_answered(upstream: FakeUpstream) -> None:
    bodies = Bodies(4 * LIMIT)
    upstream.script("hang_in_stream")
    with serve(upstream.path, bodies=bodies) as served:
        with served.wire() as wire:
            wire.send(request({"model": "current", "stream": True, "x": "x" * 5000}))
            wire.until(b"data:")
            assert bodies.held > 5000
        wait_until(lambda: bodies.held == 0, "the body to be freed")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("authorization", ["", "Bearer noa_wrong", f"Bearer {READER_KEY}", f"Bearer {EXPIRED_KEY}"])
@pytest.mark.parametrize("announced", [True, False])
def test_the_gateway_reads_no_body_without_a_key_that_may_infer(
    upstream: FakeUpstream, path: str, authorization: str, announced: bool
) -> None:
    framing = {"content_length": "16000000"} if announced else {"content_length": "", "transfer_encoding": "chunked"}
    bodies = Bodies(4 * LIMIT)
    with serve(upstream.path, bodies=bodies) as served, served.wire() as wire:
        head = request(b"", path, authorization=authorization, expect="100-continue", **framing)
        # Not "100 Continue": the body is not wanted.
        assert wire.send(head).until(b"\r\n").startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
        assert bodies.held == 0
    assert not upstream.exchanges
