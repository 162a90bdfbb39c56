"""Too many connections: quiet ones end for new ones, and no answer to a client with a key is cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.engines import descriptors
from models_app.engines.connections import Connections, TrustedProxies, origin
from models_app.gateway.http.types import Receive, Scope, Send
from tests.fakes.upstream import FakeUpstream
from tests.gateway.edge.test_front import Reader, front
from tests.gateway.wire import Served, Wire, request, serve, wait_until

TOTAL = 12
GOOD = request({"model": "current"})
STREAM = request({"model": "current", "stream": True})


@dataclass(eq=False)
class Line:
    """A connection without a socket."""

    end_order: int | None
    ended: list[Line] = field(repr=False)

    def end(self) -> None:
        self.ended.append(self)


ORDERS = st.sampled_from([0, 1, 2, None])
STEPS = st.lists(st.tuples(st.sampled_from("abc"), ORDERS, st.integers(0, 9)), max_size=80)


@given(steps=STEPS)
def test_the_bounds_hold_and_only_the_first_in_order_is_ended(steps: list[tuple[str, int | None, int]]) -> None:
    ended: list[Line] = []
    register = Connections(total=6, per_address=4)
    living: dict[Line, str] = {}
    for address, order, choice in steps:
        if choice > 7 and living:
            first = next(iter(living))
            register.closed(first)
            living.pop(first)
        before = dict(living)
        if not register.has_room():
            assert len(register) == 6
            assert all(line.end_order is None for line in before)
            continue
        if not register.admit(address):
            assert list(before.values()).count(address) == 4
            assert all(line.end_order is None for line, its in before.items() if its == address)
        else:
            line = Line(order, ended)
            register.add(line, address)
            living[line] = address
        for line in ended:
            rivals = before
            if list(before.values()).count(address) == 4:
                rivals = {other: its for other, its in before.items() if its == address}
            orders = [other.end_order for other in rivals if other.end_order is not None]
            assert line.end_order == min(orders)
            living.pop(line)
        assert len(ended) <= 1
        ended.clear()
        assert len(register) == len(living) <= 6
        assert all(list(living.values()).count(one) <= 4 for one in "abc")


def test_the_longest_quiet_one_ends_first() -> None:
    ended: list[Line] = []
    register = Connections(total=3, per_address=3)
    lines = [Line(0, ended) for _ in range(3)]
    for line in lines:
        assert register.has_room()
        assert register.admit("a")
        register.add(line, "a")
    register.active(lines[0])
    assert register.has_room()
    assert ended == []
    assert register.admit("b")
    assert ended == [lines[1]]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_an_address_is_counted_as_a_host_or_a_network(one: str, other: str, same: bool) -> None:
    without_proxies = TrustedProxies(())
    assert (origin(one, without_proxies) == origin(other, without_proxies)) is same


@pytest.mark.parametrize(
    ("entries", "address", "trusted"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["::1", "fd00::/8"], "fd00::5", True),
        (["*"], "8.8.8.8", True),
        (["*"], "", True),
        ([], "127.0.0.1", False),
        (["proxy.example"], "127.0.0.1", False),
    ],
)
def test_clients_of_trusted_proxies_share_no_limit(entries: list[str], address: str, trusted: bool) -> None:
    assert (origin(address, TrustedProxies(entries)) == "") is trusted


@pytest.mark.parametrize(("limit", "connections"), [(0, 16), (256, 32), (1024, 224), (4096, 992), (1_048_576, 8192)])
def test_descriptors_are_kept_for_the_database(limit: int, connections: int) -> None:
    assert descriptors.connections(limit) == connections


@contextmanager
def bounded(upstream: FakeUpstream, *, per_address: int = TOTAL, total: int = TOTAL) -> Iterator[Served]:
    with serve(upstream.path, connections=Connections(total=total, per_address=per_address)) as served:
        yield served


def opened(served: Served, stack: ExitStack, count: int, data: bytes = b"") -> list[Wire]:
    return [stack.enter_context(served.wire()).send(data) for _ in range(count)]


def is_open(wire: Wire) -> bool:
    wire.socket.setblocking(False)
    try:
        return wire.socket.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        wire.socket.settimeout(10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HT",
        GOOD[:40],
        request({"model": "current"}, authorization="Bearer noa_wrong"),
        GOOD,
        request(b"", "/v1/models", method="GET"),
    ],
    ids=["nothing", "half a line", "half a head", "a wrong key", "a good request", "a good list"],
)
def test_idle_connections_are_no_obstacle(upstream: FakeUpstream, data: bytes) -> None:
    with bounded(upstream) as served, ExitStack() as stack:
        opened(served, stack, 5 * TOTAL, data)
        for _ in range(3):
            served.works()
        assert len(served.server.connections) <= TOTAL


def test_a_connection_with_a_key_outlives_those_without(upstream: FakeUpstream) -> None:
    with bounded(upstream) as served, ExitStack() as stack:
        (kept,) = opened(served, stack, 1, GOOD)
        assert kept.answer().status == 200
        opened(served, stack, 5 * TOTAL, b"GET / HT")
        served.works()
        assert kept.send(GOOD).answer().status == 200


def test_streams_are_not_cut_and_the_next_client_waits_for_the_end_of_one(upstream: FakeUpstream) -> None:
    upstream.script(*["hang_in_stream"] * TOTAL)
    with bounded(upstream) as served, ExitStack() as stack:
        streams = opened(served, stack, TOTAL, STREAM)
        for stream in streams:
            stream.until(b"data:")
        (late,) = opened(served, stack, 1, GOOD)
        wait_until(lambda: not served.server.servers[0].is_serving(), "the acceptor to stop")
        assert all(is_open(stream) for stream in streams)
        streams[0].socket.shutdown(socket.SHUT_RDWR)
        assert late.answer().status == 200
        assert all(is_open(stream) for stream in streams[1:])


def test_one_address_leaves_room_for_others(upstream: FakeUpstream) -> None:
    upstream.script(*["hang_in_stream"] * 4)
    with bounded(upstream, per_address=4) as served, ExitStack() as stack:
        streams = opened(served, stack, 4, STREAM)
        for stream in streams:
            stream.until(b"data:")
        refused = stack.enter_context(served.wire()).answer()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "too_many_connections", "1")
        other = socket.create_connection(("127.0.0.1", served.port), 10, source_address=("127.0.0.2", 0))
        with other:
            other.sendall(GOOD)
            assert other.recv(12) == b"HTTP/1.1 200"
        streams[0].socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: len(served.server.connections) == 3, "the stream to be noticed")
        served.works()


def test_a_trusted_proxy_can_have_all_connections(upstream: FakeUpstream) -> None:
    upstream.script(*["hang_in_stream"] * 4)
    connections = Connections(total=TOTAL, per_address=2)
    with serve(upstream.path, connections=connections, trusted_proxies=["127.0.0.0/8"]) as served, ExitStack() as stack:
        for stream in opened(served, stack, 4, STREAM):
            stream.until(b"data:")
        served.works()


@pytest.mark.parametrize("announced", [True, False])
def test_slow_bodies_without_a_key_end_for_a_new_connection(sockets: Path, announced: bool) -> None:
    framing = {"content_length": "5000"} if announced else {"content_length": "", "transfer_encoding": "chunked"}
    half = request(b"", "/admin/login/", authorization="", **framing) + (b"x" if announced else b"2\r\nx")
    connections = Connections(total=TOTAL, per_address=TOTAL)
    app = front(Reader())
    with serve(str(sockets / "none.sock"), app=app, connections=connections) as served, ExitStack() as stack:
        opened(served, stack, 3 * TOTAL, half)
        for _ in range(3):
            assert served.ask(request(b"x", "/admin/login/", authorization="")).body == b"1"


async def _much(scope: Scope, receive: Receive, send: Send) -> None:
    """More than the kernel buffers for a client that does not read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    size = 16 * 1024 * 1024 if scope["path"] == "/much" else 1
    await send({"type": "http.response.body", "body": b"x" * size})


def test_clients_without_a_key_that_do_not_read_end_for_a_new_connection(sockets: Path) -> None:
    connections = Connections(total=TOTAL, per_address=TOTAL)
    with serve(str(sockets / "none.sock"), app=_much, connections=connections) as served, ExitStack() as stack:
        opened(served, stack, TOTAL, request(b"", "/much", method="GET", authorization=""))
        for _ in range(3):
            assert served.get("/").body == b"x"


async def _hang(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers only `/`; other requests wait until their client leaves."""
    if scope["path"] != "/":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})


def test_requests_without_a_key_that_wait_are_no_obstacle_either(sockets: Path) -> None:
    connections = Connections(total=TOTAL, per_address=TOTAL)
    with serve(str(sockets / "none.sock"), app=_hang, connections=connections) as served, ExitStack() as stack:
        opened(served, stack, 3 * TOTAL, request(b"", "/wait", method="GET", authorization=""))
        for _ in range(3):
            assert served.get("/").body == b"x"


def test_the_places_of_connections_that_ended_are_free_again(upstream: FakeUpstream) -> None:
    with bounded(upstream) as served:
        for _ in range(10):
            with ExitStack() as stack:
                opened(served, stack, 2 * TOTAL, GOOD)
        wait_until(lambda: len(served.server.connections) == 0, "all connections to end")
        served.works()
