"""The node's door: clients that are slow, silent or too many hold it up no more than those of the gateway."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models_app.engines import accepting, certificates, descriptors
from models_app.engines.door import DoorProtocol
from models_app.engines.proxy import RunnerProxy
from models_app.engines.trust import NodeTrust
from tests.engines.runner.test_http import Place
from tests.fakes.upstream import FakeUpstream
from tests.waiting import until

SECRET = NodeTrust(secret="a-secret-of-this-test")
INSTANCE = "one"
PATH = f"/runners/{INSTANCE}/v1/chat/completions"
BODY = b'{"model": "x"}'
SHAPES = ["a secret", "a secret over TLS", "certificates", "both"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> NodeTrust:
    return certificates.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[FakeUpstream]:
    with FakeUpstream(str(tmp_path / "r.sock")) as fake:
        yield fake


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DoorProtocol, "head_seconds", 1.0)
    monkeypatch.setattr(DoorProtocol, "body_seconds", 1.0)
    monkeypatch.setattr(accepting, "_HANDSHAKE_SECONDS", 1.0)


def trust_of(shape: str, files: NodeTrust) -> NodeTrust:
    return {
        "a secret": SECRET,
        "a secret over TLS": replace(files, secret=SECRET.secret, authority=None),
        "certificates": files,
        "both": replace(files, secret=SECRET.secret),
    }[shape]


class Door:
    """A running proxy with a runner, and clients that have its certificates."""

    def __init__(self, port: int, trust: NodeTrust, files: NodeTrust, proxy: RunnerProxy) -> None:
        self.port = port
        self.trust = trust
        self.proxy = proxy
        self._context = files.client_context() if trust.certificate else None
        if self._context is not None:
            self._context.check_hostname = False

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def connect(self) -> socket.socket:
        return self._context.wrap_socket(self.raw()) if self._context else self.raw()

    def head(self, extra: bytes = b"content-length: 14\r\n", *, secret: str | None = None) -> bytes:
        authorization = self.trust.authorization if secret is None else f"Bearer {secret}"
        lines = f"POST {PATH} HTTP/1.1\r\nhost: node\r\nauthorization: {authorization}\r\n"
        return lines.encode() + extra + b"\r\n"

    def works(self) -> None:
        with self.connect() as client:
            client.sendall(self.head() + BODY)
            assert client.recv(12) == b"HTTP/1.1 200"


@contextmanager
def door(shape: str, files: NodeTrust, runner: FakeUpstream | Place) -> Iterator[Door]:
    trust = trust_of(shape, files)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        proxy = RunnerProxy(listener=listener, find={INSTANCE: runner.path}.get, trust=trust)
        proxy.start()
        try:
            yield Door(port, trust, files, proxy)
        finally:
            proxy.stop()


def is_ended(client: socket.socket) -> bool:
    """Reads until the other side closes; fails when it does not."""
    client.settimeout(8)
    try:
        while client.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        return True
    return True


def _second_head(place: Door, client: socket.socket) -> None:
    client.sendall(place.head() + BODY)
    assert client.recv(12)[:4] in (b"HTTP", b"")
    client.sendall(b"POST /run")


# What a client sends before it stops.
SLOW: dict[str, Callable[[Door, socket.socket], None]] = {
    "nothing": lambda place, client: None,
    "half a line": lambda place, client: client.sendall(b"POST /run"),
    "half a head": lambda place, client: client.sendall(place.head()[:-9]),
    "half a body": lambda place, client: client.sendall(place.head() + b"{"),
    "half a chunk": lambda place, client: client.sendall(place.head(b"transfer-encoding: chunked\r\n") + b"5\r\nab"),
    "half a second head": _second_head,
    "half a handshake": lambda place, client: client.sendall(b"\x16\x03\x01\x02\x00\x01\x00"),
    "no handshake": lambda place, client: None,
}
RAW = {"half a handshake", "no handshake"}


@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_client_that_is_slow_is_disconnected(shape: str, slow: str, files: NodeTrust, runner: FakeUpstream) -> None:
    with door(shape, files, runner) as place, ExitStack() as stack:
        clients = [stack.enter_context(place.raw() if slow in RAW else place.connect()) for _ in range(5)]
        for client in clients:
            # On a busy machine the deadline can pass before this client has sent anything.
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                SLOW[slow](place, client)
        assert all(is_ended(client) for client in clients)
        place.works()


def test_an_answer_may_take_longer_than_the_deadlines(
    files: NodeTrust, runner: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DoorProtocol, "head_seconds", 0.05)
    monkeypatch.setattr(DoorProtocol, "body_seconds", 0.05)
    runner.script("paced")
    with door("a secret", files, runner) as place, place.connect() as client:
        client.sendall(place.head(b"content-length: %d\r\n" % len(STREAM)) + STREAM)
        received = b""
        while b"[DONE]" not in received:
            data = client.recv(65536)
            assert data, received
            received += data


STREAM = b'{"model": "x", "stream": true}'


@pytest.mark.parametrize("path", ["/", PATH, "/runners/x/y", "/etc/passwd", f"{PATH}?x=1"])
@pytest.mark.parametrize("secret", ["", "wrong"])
def test_without_the_secret_a_connection_ends_with_its_refusal(
    path: str, secret: str, files: NodeTrust, runner: FakeUpstream
) -> None:
    with door("a secret", files, runner) as place, place.connect() as client:
        client.sendall(place.head(secret=secret).replace(PATH.encode(), path.encode()) + BODY)
        assert client.recv(12) == b"HTTP/1.1 401"
        assert is_ended(client)
        assert not runner.exchanges


@pytest.mark.parametrize("shape", ["a secret", "a secret over TLS"])
def test_more_connections_than_there_can_be_take_none_from_other_machines(
    shape: str, files: NodeTrust, runner: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "connections", lambda descriptors: 16)
    monkeypatch.setattr(DoorProtocol, "head_seconds", 60.0)
    monkeypatch.setattr(accepting, "_HANDSHAKE_SECONDS", 60.0)
    runner.script("hang_in_stream")
    with door(shape, files, runner) as place, ExitStack() as stack:
        stream = stack.enter_context(place.connect())
        stream.sendall(place.head(b"content-length: %d\r\n" % len(STREAM)) + STREAM)
        assert stream.recv(12) == b"HTTP/1.1 200"
        for _ in range(60):
            stack.enter_context(place.raw()).sendall(b"POST /")
        for _ in range(3):
            place.works()
        runner.exchanges[0].left.clear()
        stream.settimeout(0.05)
        with pytest.raises(TimeoutError):
            while stream.recv(65536):
                pass


MALFORMED = {
    "two codings": b"transfer-encoding: gzip, chunked\r\n",
    "chunked twice": b"transfer-encoding: chunked, chunked\r\n",
    "gzip": b"transfer-encoding: gzip\r\n",
    "identity first": b"transfer-encoding: identity, chunked\r\n",
    "chunked first": b"transfer-encoding: chunked, gzip\r\n",
    "two headers": b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
    "a length too": b"transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    "no header": b"nonsense\r\n",
    "a negative length": b"content-length: -1\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_refused_without_a_word_in_the_log(
    case: str, files: NodeTrust, runner: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    with door("a secret", files, runner) as place, place.connect() as client:
        client.sendall(place.head(MALFORMED[case]) + b"e\r\n" + BODY + b"\r\n0\r\n\r\n" + place.head() + BODY)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 400
        assert json.loads(answer.read())["error"]["type"] == "invalid_request_error"
        assert is_ended(client)
        assert not runner.exchanges
        place.works()
    assert caplog.text == ""


def test_a_chunked_body_is_passed_on_to_a_real_runners_server(tmp_path: Path, files: NodeTrust) -> None:
    place_of_runner = Place(str(tmp_path / "real.sock"))
    try:
        with door("a secret", files, place_of_runner) as place, place.connect() as client:
            client.sendall(place.head(b"transfer-encoding: chunked\r\n") + b"e\r\n" + BODY + b"\r\n0\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert json.loads(answer.read())["body"] == BODY.decode()
    finally:
        place_of_runner.close()


def test_the_connections_to_runners_that_are_gone_are_closed(tmp_path: Path, runner: FakeUpstream) -> None:
    found = {f"old-{n}": runner.path for n in range(20)}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        proxy = RunnerProxy(listener=listener, find=found.get, trust=SECRET)
        proxy.start()
        place = Door(port, SECRET, SECRET, proxy)
        try:
            for instance in list(found):
                with place.connect() as client:
                    client.sendall(place.head().replace(INSTANCE.encode(), instance.encode(), 1) + BODY)
                    assert client.recv(12) == b"HTTP/1.1 200"
                # Its runner ends, and another one begins.
                del found[instance]
            found[INSTANCE] = runner.path
            place.works()
            until(lambda: len(proxy._links) == 1, "only the link to the present runner is left")
        finally:
            proxy.stop()
