"""Runners on other machines: reached through their node's proxy, over TLS, and never by unauthenticated clients."""

from __future__ import annotations

import http.client
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models_app.domain.traffic.routing import Snapshot
from models_app.engines import certificates
from models_app.engines.proxy import RunnerProxy
from models_app.engines.trust import NodeTrust
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import CHAT, Served, request, serve
from tests.waiting import until

INSTANCE = "instance-org/chat-7b.q4".replace("/", "-")
SECRET = NodeTrust(secret="a-secret-of-this-test")
Through = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> NodeTrust:
    return certificates.make(tmp_path_factory.mktemp("authority"))


@contextmanager
def proxy(socket_path: str, trust: NodeTrust) -> Iterator[str]:
    """A node with one runner; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = {INSTANCE: socket_path}
        running = RunnerProxy(listener=listener, find=found.get, trust=trust)
        running.start()
        scheme = "https" if trust.certificate else "http"
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.stop()


def seen_from_elsewhere(where: Snapshot, address: str, instance: str = INSTANCE) -> Snapshot:
    """As `where`, but the chat model is on another machine."""
    entry = where.models[CHAT]
    assert entry.target is not None
    target = replace(entry.target, instance_id=instance, socket="", node="other", address=address)
    return replace(where, models={**where.models, CHAT: replace(entry, target=target)})


@contextmanager
def through(upstream: FakeUpstream, mine: NodeTrust, its: NodeTrust) -> Iterator[Served]:
    with proxy(upstream.path, its) as address, serve(upstream.path, trust=mine) as served:
        served.source.current = seen_from_elsewhere(served.source.current, address)
        yield served


def test_an_answer_and_a_stream_come_through_the_proxy(upstream: FakeUpstream) -> None:
    with through(upstream, SECRET, SECRET) as served:
        whole = served.post({"model": "current"}, x_request_id="whole")
        assert (whole.status, whole.json["object"]) == (200, "chat.completion")
        stream = served.post({"model": "current", "stream": True})
        assert stream.body.endswith(b"data: [DONE]\n\n")
        assert [one.path for one in upstream.exchanges] == ["/v1/chat/completions"] * 2
        assert "authorization" not in upstream.exchanges[0].headers
        record = served.record_of("whole")
        assert (record.node, record.instance_id, record.attempts) == ("other", INSTANCE, 1)
        assert record.prompt_tokens


def test_a_connection_to_a_node_is_used_again(upstream: FakeUpstream) -> None:
    with through(upstream, SECRET, SECRET) as served:
        for _ in range(3):
            assert served.post({"model": "current"}).status == 200
        assert len(served.gateway._upstream._idle) == 1
        assert len(next(iter(served.gateway._upstream._idle.values()))) == 1


@pytest.mark.parametrize("secret", ["", "the same on both machines"])
def test_certificates_of_the_same_authority_open_the_proxy(
    upstream: FakeUpstream, files: NodeTrust, secret: str
) -> None:
    trust = replace(files, secret=secret)
    with through(upstream, trust, trust) as served:
        assert served.post({"model": "current"}).status == 200


def test_a_secret_over_tls_opens_the_proxy_to_who_has_no_certificate(upstream: FakeUpstream, files: NodeTrust) -> None:
    its = replace(files, secret="only the secret", authority=None)
    mine = NodeTrust(secret="only the secret", authority=files.authority)
    with through(upstream, mine, its) as served:
        assert served.post({"model": "current"}).status == 200


def test_a_stranger_reaches_no_runner(upstream: FakeUpstream, files: NodeTrust, tmp_path: Path) -> None:
    stranger = certificates.make(tmp_path)
    pairs = {
        "wrong secret": (NodeTrust(secret="a guess"), SECRET),
        "no secret": (NodeTrust(), SECRET),
        "no certificate": (NodeTrust(authority=files.authority), files),
        "certificate of another authority": (
            replace(stranger, authority=files.authority),
            files,
        ),
        "right certificate, wrong secret": (
            replace(files, secret="a guess"),
            replace(files, secret="the secret"),
        ),
        # The other way round: this server must not send its requests to an unauthenticated node.
        "node of another authority": (files, stranger),
    }
    for what, (mine, its) in pairs.items():
        with through(upstream, mine, its) as served:
            answer = served.post({"model": "current"})
            # TLS 1.3 reports a refused client certificate only after the connection was established.
            assert answer.code in ("runner_unreachable", "runner_died"), what
    assert not upstream.exchanges


def test_a_node_is_asked_without_tls_on_the_same_machine_only(upstream: FakeUpstream) -> None:
    with serve(upstream.path, trust=SECRET) as served:
        far = "http://192.0.2.7:8790"
        served.source.current = seen_from_elsewhere(served.source.current, far)
        answer = served.post({"model": "current"})
        assert (answer.status, answer.code) == (503, "runner_unreachable")


def test_the_proxy_forwards_only_what_is_for_other_machines(upstream: FakeUpstream) -> None:
    with proxy(upstream.path, SECRET) as address:
        host = address.removeprefix("http://")
        head = {"Authorization": SECRET.authorization}
        wrong = [
            ("POST", f"/runners/{INSTANCE}/drain?wait=0"),
            ("POST", f"/runners/{INSTANCE}/drain"),
            ("GET", f"/runners/{INSTANCE}/v1/chat/completions"),
            ("POST", f"/runners/{INSTANCE}/v1/../drain"),
            ("POST", f"/runners/{INSTANCE}/v1/%2e%2e/drain"),
            ("GET", f"/runners/{INSTANCE}/health?x=1"),
            ("GET", "/"),
            ("GET", "/etc/passwd"),
            ("CONNECT", f"/runners/{INSTANCE}/health"),
        ]
        for method, path in wrong:
            link = http.client.HTTPConnection(host)
            link.request(method, path, headers=head)
            assert link.getresponse().status in (404, 405), (method, path)
            link.close()
        assert not upstream.exchanges


def test_a_runner_that_is_not_there_any_more_makes_it_look_again(upstream: FakeUpstream) -> None:
    with proxy(upstream.path, SECRET) as address, serve(upstream.path, trust=SECRET) as served:
        here = served.source.current
        served.source.current = seen_from_elsewhere(here, address, "gone")
        served.source.next = seen_from_elsewhere(here, address)
        answer = served.post({"model": "current"})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")


def test_a_runner_that_dies_before_its_answer_is_asked_again(upstream: FakeUpstream) -> None:
    with through(upstream, SECRET, SECRET) as served:
        upstream.script("close", "answer")
        answer = served.post({"model": "current"})
        assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")


def test_a_stream_that_is_cut_on_another_machine_ends_with_an_error_and_no_done(
    upstream: FakeUpstream,
) -> None:
    with through(upstream, SECRET, SECRET) as served:
        upstream.script("cut_stream")
        answer = served.post({"model": "current", "stream": True})
        assert b"runner_died" in answer.body
        assert b"[DONE]" not in answer.body


def test_a_client_that_leaves_ends_the_request_on_the_other_machine(
    upstream: FakeUpstream,
) -> None:
    with through(upstream, SECRET, SECRET) as served:
        upstream.script("hang_in_stream")
        with served.wire() as wire:
            wire.send(request({"model": "current", "stream": True})).until(b"data:")
            until(lambda: upstream.exchanges, "the runner had the request")
        assert upstream.exchanges[0].left.wait(5.0)


def test_requests_go_to_the_copy_with_the_fewest_in_flight(sockets: Path) -> None:
    with ExitStack() as stack:
        fakes = [stack.enter_context(FakeUpstream(str(sockets / f"{name}.sock"))) for name in "ab"]
        served = stack.enter_context(serve(fakes[0].path))
        served.source.current = copies(served.source.current, [fake.path for fake in fakes])
        for _ in range(10):
            assert served.post({"model": "current"}).status == 200
        assert [len(fake.exchanges) for fake in fakes] == [5, 5]


def test_a_copy_that_cannot_be_reached_is_left_out_and_nobody_notices(
    upstream: FakeUpstream,
) -> None:
    with tempfile.TemporaryDirectory(prefix="noa-") as folder, serve(upstream.path) as served:
        gone = f"{folder}/gone.sock"
        served.source.current = copies(served.source.current, [gone, upstream.path])
        answers = [served.post({"model": "current"}) for _ in range(10)]
        assert [answer.status for answer in answers] == [200] * 10
        # One attempt failed; after that the copy is avoided.
        assert sum(answer.headers["x-noa-attempts"] == "2" for answer in answers) <= 1


def copies(where: Snapshot, paths: list[str]) -> Snapshot:
    entry = where.models[CHAT]
    assert entry.target is not None
    first, *others = [
        replace(entry.target, instance_id=f"copy-{number}", socket=path, copies=len(paths))
        for number, path in enumerate(paths)
    ]
    entry = replace(entry, target=first, others=tuple(others))
    return replace(where, models={**where.models, CHAT: entry})
