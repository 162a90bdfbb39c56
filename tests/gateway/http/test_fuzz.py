"""Random bytes, from both sides."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import Served, request

pytestmark = pytest.mark.wide

GOOD_REQUEST = request({"model": "current", "stream": True})
GOOD_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'8\r\ndata: 1\n\r\n1\r\n\n\r\n1c\r\n: noa {"usage": {"a": 1}}\n\n\r\n\r\n0\r\n\r\n'
)
FRONT_CASES = 1000
# An incomplete request gets no answer; the test waits no longer than this.
_PATIENCE = 0.1


def mutated(good: bytes, seed: int) -> bytes:
    """A good message with a few bytes changed, cut, doubled or replaced by tokens of the parsers."""
    chance = random.Random(seed)
    data = bytearray(good)
    words = [
        b"\r\n",
        b"\r\n\r\n",
        b"\x00",
        b":",
        b"chunked",
        b"Content-Length: 7\r\n",
        b" ",
        b"\xff",
        b"HTTP/",
        b"-1",
    ]
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at:at] = chance.choice(words)
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 40)]
            case _:
                data[at : at + chance.randint(1, 8)] = chance.randbytes(chance.randint(1, 8))
    return bytes(data)


def test_the_front_survives_mutated_requests(gateway: Served, upstream: FakeUpstream) -> None:
    seen = set()
    for seed in range(FRONT_CASES):
        with gateway.wire() as wire:
            wire.socket.settimeout(_PATIENCE)
            wire.send(mutated(GOOD_REQUEST, seed))
            with contextlib.suppress(TimeoutError, ConnectionError):
                reply = wire.socket.recv(65536)
                assert b"Traceback" not in reply
                seen.add(reply[9:12])
    gateway.works()
    assert seen >= {b"200", b"400", b"401", b"404"}
    assert not {status for status in seen if status.startswith(b"5")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=300),
        st.integers(min_value=0, max_value=2**32).map(lambda seed: mutated(GOOD_ANSWER, seed)),
        st.binary(max_size=100).map(lambda tail: GOOD_ANSWER[:-40] + tail),
    ),
    stream=st.booleans(),
)
def test_the_client_of_runners_survives_random_answers(
    gateway: Served, upstream: FakeUpstream, raw: bytes, stream: bool
) -> None:
    upstream.raw = raw
    upstream.script("raw", "raw")
    answer = gateway.post({"model": "current", "stream": stream})
    assert 200 <= answer.status < 600
    upstream.script()
    gateway.works()
