"""Each fault of the proxy behaves as documented."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.fault_proxy import DEADLINE, Fault, FaultProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of an echo server."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError:
                pass

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE)


def said(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(4096)


def test_it_passes_everything_by_default(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"one") == b"one"
        assert said(connection, b"two") == b"two"
    assert proxy.connections == 1


def test_refused_connections_are_refused_and_open_ones_reset(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.fault(Fault.REFUSE)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.fault(Fault.PASS)
    with connect(proxy) as connection:
        assert said(connection, b"back") == b"back"


def test_a_reset_meets_open_and_new_connections(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.fault(Fault.RESET)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(1)


def test_a_black_hole_holds_bytes_until_it_passes_again(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.fault(Fault.BLACKHOLE)
        connection.sendall(b"two")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        proxy.fault(Fault.PASS)
        connection.settimeout(DEADLINE)
        assert connection.recv(4096) == b"two"


def test_a_delay_delivers_everything_later(proxy: FaultProxy) -> None:
    proxy.fault(Fault.DELAY, seconds=0.2)
    with connect(proxy) as connection:
        connection.sendall(b"late")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        connection.settimeout(DEADLINE)
        assert connection.recv(4096) == b"late"


def test_a_cut_comes_after_as_many_bytes_as_were_told(proxy: FaultProxy) -> None:
    proxy.fault(Fault.CUT, after=5)
    with connect(proxy) as connection:
        assert said(connection, b"abc") == b"abc"
        connection.sendall(b"defg")
        came = b""
        with pytest.raises(ConnectionResetError):
            while data := connection.recv(4096):
                came += data
        assert came in (b"", b"de")


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    # The reset can arrive while it connects.
    with (
        FaultProxy("127.0.0.1", port) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy) as connection,
    ):
        connection.recv(1)
