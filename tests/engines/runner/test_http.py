"""The runner's HTTP layer, byte by byte on a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from models_app.domain.errors import Conflict, RateLimited
from models_app.engines.runner import http
from models_app.engines.runner.http import Connection, Request

Serve = Callable[[Request], Awaitable[None]]
WAIT = 10.0


class Place:
    """A server on its own thread. `gone` is set when a request of /wait was cancelled."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.gone = threading.Event()
        self.arrived = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(WAIT)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT)
        self._loop.close()

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(WAIT)
        client.connect(self.path)
        return client

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await self._loop.create_unix_server(lambda: Connection(self._serve), self.path)
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, request: Request) -> None:
        if request.path == "/boom":
            raise RuntimeError("a fault of ours")
        if request.path == "/conflict":
            raise Conflict("Not now.")
        if request.path == "/later":
            raise RateLimited("Too many.", retry_after=7)
        if request.path == "/wait":
            await self._wait()
        if request.path in ("/stream", "/broken-stream"):
            request.start_stream()
            request.write(b"data: 1\n\n")
            if request.path == "/broken-stream":
                raise Conflict("It broke.")
            request.end()
            return
        if request.path in ("/flood", "/stuck"):
            await self._write_much(request, once=request.path == "/stuck")
        answer = {
            "path": request.path,
            "query": request.query,
            "body": bytes(request.body).decode(),
        }
        request.respond(200, answer | {"method": request.method})

    async def _wait(self) -> None:
        self.arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()

    async def _write_much(self, request: Request, *, once: bool) -> None:
        """Writes more than the kernel buffers for a peer that does not read; `once`, or without end."""
        request.start_stream()
        request.write(b"x" * 1024 * 1024)
        try:
            while not once:
                request.write(b"x" * 65_536)
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            self.gone.set()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(str(tmp_path / "s"))
    yield made
    made.close()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = "/echo") -> bytes:
    length = f"Content-Length: {len(body)}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", length, *headers, "", ""]).encode() + body


def read_answer(client: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of one answer with a content length."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = client.recv(65_536)
        assert got, f"The connection ended after {data!r}"
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    while len(body) < int(headers[b"content-length"]):
        body += client.recv(65_536)
    return int(status.split()[1]), headers, body


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    while got := client.recv(65_536):
        data += got
    return data


def ended(client: socket.socket) -> bool:
    """Whether the peer closed; if it left bytes unread, the kernel reports a reset."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def test_it_answers_many_requests_on_one_connection(place: Place) -> None:
    with place.connect() as client:
        for number in range(5):
            client.sendall(post(b"%d" % number))
            status, headers, body = read_answer(client)
            assert status == 200
            assert headers[b"content-type"] == b"application/json"
            assert json.loads(body)["body"] == str(number)


def test_a_request_may_arrive_in_single_bytes(place: Place) -> None:
    with place.connect() as client:
        for byte in post(b"slow", path="/a%20b?wait=1&wait=2"):
            client.sendall(bytes([byte]))
        answer = json.loads(read_answer(client)[2])
    assert answer == {
        "path": "/a b",
        "query": {"wait": ["1", "2"]},
        "body": "slow",
        "method": "POST",
    }


def test_a_chunked_body_is_put_together(place: Place) -> None:
    with place.connect() as client:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        assert json.loads(read_answer(client)[2])["body"] == "abcde"


def test_pipelined_requests_are_answered_in_turn(place: Place) -> None:
    with place.connect() as client:
        client.sendall(post(b"1") + post(b"2") + post(b"3", "Connection: close"))
        data = read_to_end(client)
    assert [data.index(b'"body":"%d"' % n) for n in (1, 2, 3)] == sorted(
        data.index(b'"body":"%d"' % n) for n in (1, 2, 3)
    )


def test_a_connection_that_pipelines_without_end_is_cut(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/wait"))
        assert place.arrived.wait(WAIT)
        client.sendall(get("/echo") * 20)
        assert place.gone.wait(WAIT)


def test_it_closes_when_asked_to(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/echo", "Connection: close"))
        data = read_to_end(client)
    assert b"connection: close" in data


def test_expect_continue_is_answered(place: Place) -> None:
    with place.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue").replace(b"h: 0", b"h: 2"))
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(b"ok")
        assert json.loads(read_answer(client)[2])["body"] == "ok"


def test_head_gets_no_body(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/echo").replace(b"GET", b"HEAD") + get("/echo", "Connection: close"))
        data = read_to_end(client)
    assert data.count(b'"path"') == 1


def test_a_stream_is_chunked_and_the_connection_lives_on(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/stream") + get("/echo", "Connection: close"))
        data = read_to_end(client)
    assert b"transfer-encoding: chunked" in data
    assert b"9\r\ndata: 1\n\n\r\n0\r\n\r\n" in data
    assert b'"path":"/echo"' in data


def test_errors_are_json_with_their_status(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/conflict"))
        status, headers, body = read_answer(client)
        assert (status, code(body)) == (409, "conflict")
        assert headers[b"content-type"] == b"application/json"
        client.sendall(get("/later"))
        status, headers, body = read_answer(client)
        assert (status, headers[b"retry-after"]) == (429, b"7")


def test_a_fault_of_ours_is_an_internal_error_and_the_server_lives(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/boom"))
        status, _, body = read_answer(client)
        assert (status, code(body)) == (500, "internal_error")
        assert b"a fault of ours" not in body
        client.sendall(get("/echo"))
        assert read_answer(client)[0] == 200


def test_a_stream_that_breaks_ends_with_an_error_event(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/broken-stream", "Connection: close"))
        data = read_to_end(client)
    assert b'data: {"error":{"message":"It broke."' in data
    assert b"[DONE]" not in data
    assert data.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_above_the_limit_is_refused(place: Place, chunked: bool) -> None:
    body = b"x" * (http.MAX_BODY + 1)
    request = post(body)
    if chunked:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with place.connect() as client:
        client.sendall(request)
        status, headers, answer = read_answer(client)
        assert (status, code(answer)) == (413, "request_too_large")
        assert headers[b"connection"] == b"close"
        assert client.recv(1) == b""


def test_a_body_at_the_limit_is_taken(place: Place) -> None:
    with place.connect() as client:
        client.sendall(post(b"x" * http.MAX_BODY))
        assert read_answer(client)[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 40_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda data: ascii(data[:40].decode("latin-1")),
)
def test_what_is_not_http_gets_a_json_error_and_the_end(place: Place, request_bytes: bytes) -> None:
    with place.connect() as client:
        # The answer can come, and the connection end, before a long request is sent.
        with contextlib.suppress(BrokenPipeError):
            client.sendall(request_bytes)
        status, headers, body = read_answer(client)
        assert (status, code(body)) == (400, "bad_request")
        assert headers[b"connection"] == b"close"
        assert ended(client)
    with place.connect() as client:
        client.sendall(get("/echo"))
        assert read_answer(client)[0] == 200


def test_a_client_that_leaves_cancels_its_request(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/wait"))
        assert place.arrived.wait(WAIT)
    assert place.gone.wait(WAIT)


def test_a_client_that_closes_its_half_cancels_its_request(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/wait"))
        assert place.arrived.wait(WAIT)
        client.shutdown(socket.SHUT_WR)
        assert place.gone.wait(WAIT)


def test_a_reader_that_stops_reading_is_cut(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_STALL_SECONDS", 0.1)
    with place.connect() as client:
        client.sendall(get("/stuck"))
        assert place.gone.wait(WAIT)
        assert len(read_to_end(client)) < 1024 * 1024


def test_a_reader_too_far_behind_is_cut(place: Place) -> None:
    with place.connect() as client:
        client.sendall(get("/flood"))
        assert place.gone.wait(WAIT)


def test_a_request_that_does_not_arrive_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_RECEIVE_SECONDS", 0.1)
    with place.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        status, _, body = read_answer(client)
        assert (status, code(body)) == (408, "request_timeout")
        assert client.recv(1) == b""
