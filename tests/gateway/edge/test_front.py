"""What Django gets: no foreign host, and no large body without a valid key or session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.front import Front
from models_app.gateway.http.bodies import ANONYMOUS_BODY_BYTES, Bodies
from models_app.gateway.http.types import Message, Receive, Scope, Send
from tests.gateway.wire import EXPIRED_KEY, KEY, Served, request, serve, snapshot, wait_until

LARGEST = 4 * 1024 * 1024
SESSION = "sessionid=signed-in"
Start = Callable[[], AbstractContextManager[Served]]


class Reader:
    """An application that reads the whole body, as Django does, and answers with its size."""

    def __init__(self) -> None:
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            self.most = max(self.most, size)
            if not message.get("more_body"):
                break
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _sessions(cookies: bytes) -> str:
    return "session:1" if cookies == SESSION.encode() else ""


def front(reader: Reader, bodies: Bodies | None = None) -> Front:
    doorway = Doorway(lambda: snapshot("").keys)
    return Front(reader, LARGEST, bodies or Bodies(32 * LARGEST), doorway, _sessions)


def sent(size: int, path: str, *, announced: bool, **headers: str) -> bytes:
    if announced:
        return request(b"x" * size, path, **headers)
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b""
    return request(b"", path, content_length="", transfer_encoding="chunked", **headers) + chunk + b"0\r\n\r\n"


PROOFS = {
    "a key": {"authorization": f"Bearer {KEY}"},
    "a session": {"authorization": "", "cookie": SESSION},
}
NO_PROOFS = {
    "nothing": {"authorization": ""},
    "an unknown key": {"authorization": "Bearer noa_unknown"},
    "an expired key": {"authorization": f"Bearer {EXPIRED_KEY}"},
    "a malformed key": {"authorization": f"Basic {KEY}"},
    "two keys": {"authorization": f"Bearer {KEY}\r\nauthorization: Bearer {KEY}"},
    "an unknown session": {"authorization": "", "cookie": "sessionid=none"},
    "a session and an unknown key": {"authorization": "Bearer noa_unknown", "cookie": SESSION},
}
PATHS = ["/api/v1/registry/import", "/admin/login/", "/nothing", "/static/x.css", "/"]


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [0, 999, ANONYMOUS_BODY_BYTES + 1, LARGEST, LARGEST + 1, 2 * LARGEST])
def test_a_key_or_a_session_allows_bodies_up_to_the_limit(
    sockets: Path, size: int, announced: bool, proof: str
) -> None:
    bodies = Bodies(32 * LARGEST)
    with serve(str(sockets / "none.sock"), app=front(Reader(), bodies)) as served:
        answer = served.ask(sent(size, PATHS[0], announced=announced, **PROOFS[proof]))
        wait_until(lambda: bodies.held == 0, "the body to be freed")
    if size <= LARGEST:
        assert (answer.status, answer.body) == (200, str(size).encode())
    else:
        assert (answer.status, answer.code) == (413, "request_too_large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("proof", NO_PROOFS)
@pytest.mark.parametrize("path", PATHS)
def test_without_them_only_a_small_body_reaches_the_application(sockets: Path, path: str, proof: str) -> None:
    reader, bodies = Reader(), Bodies(32 * LARGEST)
    headers = NO_PROOFS[proof]
    with serve(str(sockets / "none.sock"), app=front(reader, bodies)) as served:
        for announced in (True, False):
            small = served.ask(sent(ANONYMOUS_BODY_BYTES, path, announced=announced, **headers))
            assert (small.status, small.body) == (200, b"%d" % ANONYMOUS_BODY_BYTES)
            for size in (ANONYMOUS_BODY_BYTES + 1, LARGEST, 2 * LARGEST):
                large = served.ask(sent(size, path, announced=announced, **headers))
                assert large.status in ((401, 413) if size > LARGEST else (401,) if is_keyed(path, proof) else (413,))
                assert large.code
                assert large.headers["connection"] == "close"
    assert reader.most <= ANONYMOUS_BODY_BYTES
    assert bodies.held == 0


def is_keyed(path: str, proof: str) -> bool:
    """Whether the answer is about the key: one was sent, or only a key is of use at this path."""
    return "key" in proof or path.startswith("/api/")


@pytest.mark.parametrize("path", PATHS)
def test_a_large_body_is_refused_before_it_is_sent(sockets: Path, path: str) -> None:
    head = request(b"", path, authorization="", content_length=str(LARGEST), expect="100-continue")
    with serve(str(sockets / "none.sock"), app=front(Reader())) as served, served.wire() as wire:
        assert wire.send(head).until(b"\r\n").startswith((b"HTTP/1.1 401", b"HTTP/1.1 413"))


def test_a_client_with_a_key_may_wait_for_100_continue(sockets: Path) -> None:
    head = request(b"", PATHS[0], content_length=str(LARGEST), expect="100-continue")
    with serve(str(sockets / "none.sock"), app=front(Reader())) as served, served.wire() as wire:
        assert wire.send(head).until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.send(b"x" * LARGEST).answer().body == b"%d" % LARGEST


def test_pipelined_bodies_are_checked_one_by_one(sockets: Path) -> None:
    small = request(b"x" * 1000, "/admin/login/", authorization="")
    large = request(b"x" * 2 * ANONYMOUS_BODY_BYTES, "/admin/login/", authorization="")
    reader = Reader()
    with serve(str(sockets / "none.sock"), app=front(reader)) as served, served.wire() as wire:
        wire.send(small + small + large + small)
        assert [wire.answer().status for _ in range(3)] == [200, 200, 413]
        assert wire.rest() == b""
    assert reader.most == 1000


def test_a_session_keeps_its_share_from_others(sockets: Path) -> None:
    bodies = Bodies(2 * LARGEST)
    with serve(str(sockets / "none.sock"), app=front(Reader(), bodies)) as served, served.wire() as wire:
        wire.send(request(b"", PATHS[0], content_length=str(LARGEST), **PROOFS["a session"]) + b"x" * 1000)
        wait_until(lambda: bodies.held == LARGEST, "the first body to be counted")
        refused = served.ask(sent(1000, PATHS[0], announced=True, authorization="", cookie=SESSION))
        # Small bodies are not looked up: they count as anonymous ones.
        assert refused.status == 200
        refused = served.ask(sent(LARGEST, PATHS[0], announced=True, **PROOFS["a session"]))
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "bodies_full", "2")
        assert served.ask(sent(LARGEST, PATHS[0], announced=True, **PROOFS["a key"])).status == 200
