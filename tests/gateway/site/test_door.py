"""Every path of a web process: which Host it accepts, to whom it is open, and what it stores without a key."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.test import Client

from models_app.services.api_keys import keys
from tests.gateway.site.test_site import RunningSite
from tests.gateway.wire import Answer, Wire, request
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

READ = ["/v1/models", "/v1/nothing", "/metrics", "/readyz", "/api/v1/models", "/api/schema", "/api/docs", "/nothing"]
PAGES = ["/", "/admin/", "/admin/login/", "/static/unfold/css/styles.css", "/favicon.ico", "/admin/nothing"]
POSTS = ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/api/v1/models/load", "/metrics"]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example#127.0.0.1",
    "evil.example, 127.0.0.1",
    "2130706433",
    "0x7f000001",
    "127.1",
    "[::ffff:10.0.0.1]",
    "169.254.169.254",
    "0.0.0.0",
    "",
]
# Each shows a proxy in between, whatever its value.
PROXY_HEADERS = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-forwarded",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-envoy-external-address",
    "x-amzn-trace-id",
    "x-azure-clientip",
    "x-appengine-user-ip",
    "x-proxyuser-ip",
    "x-nginx-proxy",
    "x-remote-addr",
    "x-scheme",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "cf-visitor",
    "fastly-client-ip",
    "fly-client-ip",
    "akamai-origin-hop",
    "cdn-loop",
]


@pytest.fixture
def site() -> Iterator[RunningSite]:
    running = RunningSite().start()
    yield running
    running.stop()


def ask(site: RunningSite, path: str, method: str = "GET", **headers: str) -> Answer:
    body = {"model": "current"} if method == "POST" else b""
    with Wire(int(site.url.rpartition(":")[2])) as wire:
        return wire.send(request(body, path, method=method, **({"authorization": ""} | headers))).answer(method)


def test_no_path_but_livez_is_for_another_host(site: RunningSite) -> None:
    _, key = keys.create(name="admin", scopes=["admin"], actor="test")
    wrong = []
    for host in FOREIGN:
        for method, paths in (("GET", READ + PAGES), ("HEAD", READ), ("POST", POSTS + PAGES)):
            for path in paths:
                for authorization in ("", f"Bearer {key}"):
                    answer = ask(site, path, method, host=host, authorization=authorization)
                    if answer.status != 400 or answer.headers["content-type"] != "application/json":
                        wrong.append((host, method, path, answer.status))
        assert ask(site, "/livez", host=host or "x").status == 200
    assert wrong == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_this_machine_reads_metrics_and_reasons_by_its_own_names(site: RunningSite, host: str) -> None:
    assert b"noa_" in ask(site, "/metrics", host=host).body
    assert "parts" in ask(site, "/readyz", host=host).json


def test_a_request_through_a_proxy_needs_a_key(site: RunningSite) -> None:
    _, key = keys.create(name="scrape", scopes=["metrics:read"], actor="test")
    bearer = f"Bearer {key}"
    for header in PROXY_HEADERS:
        for value in ("127.0.0.1", " "):
            passed = {header: value}
            assert ask(site, "/metrics", **passed).status == 401, header
            assert ask(site, "/readyz", **passed).json.keys() == {"ready"}, header
            assert ask(site, "/livez", **passed).status == 200, header
        assert ask(site, "/metrics", authorization=bearer, **passed).status == 200, header
        assert "parts" in ask(site, "/readyz", authorization=bearer, **passed).json, header


def test_a_proxy_that_adds_nothing_shows_by_its_protocol_or_its_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["noa.example.org", "127.0.0.1"]
    site = RunningSite().start()
    try:
        for path, host in (("/metrics", "noa.example.org"), ("/readyz", "noa.example.org")):
            answer = ask(site, path, host=host)
            assert answer.status == 401 or answer.json.keys() == {"ready"}
        with Wire(int(site.url.rpartition(":")[2])) as wire:
            wire.send(b"GET /metrics HTTP/1.0\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            assert wire.answer().status == 401
    finally:
        site.stop()


def test_the_setting_closes_what_is_open_to_this_machine(settings: Any) -> None:
    settings.NOA_OPEN_TO_LOOPBACK = False
    site = RunningSite().start()
    try:
        assert ask(site, "/metrics").status == 401
        assert ask(site, "/readyz").json.keys() == {"ready"}
        assert ask(site, "/livez").status == 200
    finally:
        site.stop()


def test_a_probe_may_name_the_address_at_which_it_connected(settings: Any) -> None:
    """As the kubelet and Prometheus do: their Host is the address of the pod."""
    settings.ALLOWED_HOSTS = ["noa.example.org"]
    site = RunningSite().start()
    _, key = keys.create(name="scrape", scopes=["metrics:read"], actor="test")
    try:
        for host in ("127.0.0.1", "127.0.0.1:8000"):
            assert ask(site, "/livez", host=host).status == 200
            assert ask(site, "/readyz", host=host).json.keys() == {"ready"}
            assert ask(site, "/metrics", host=host, authorization=f"Bearer {key}").status == 200
            for path in ("/v1/models", "/api/v1/models", "/admin/login/"):
                assert ask(site, path, host=host, authorization=f"Bearer {key}").status == 400
        for host in ("127.0.0.2", "localhost", "[::1]", "2130706433"):
            assert ask(site, "/readyz", host=host).status == 400
    finally:
        site.stop()


def _stored() -> int:
    """The bytes of this process's files without a name."""
    total = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(link).endswith(" (deleted)"):
                total += link.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _pour(connection: socket.socket, left: int) -> int:
    """Sends until the other side takes no more; returns how much is left."""
    block = b"x" * 65536
    try:
        while left > 0:
            left -= connection.send(block[:left])
    except BlockingIOError:
        return left
    except ConnectionError:
        return 0
    return 0


@pytest.mark.parametrize("path", ["/admin/login/", "/api/v1/models/load", "/nothing"])
@pytest.mark.parametrize("announced", [True, False])
def test_clients_without_a_key_can_store_next_to_nothing(site: RunningSite, path: str, announced: bool) -> None:
    size = 16_672_358  # 15.9 MiB
    before, most = _stored(), 0
    framing = {"content_length": str(size)} if announced else {"content_length": "", "transfer_encoding": "chunked"}
    head = request(b"", path, authorization="", **framing) + (b"" if announced else b"%x\r\n" % size)
    with ExitStack() as stack:
        left = {}
        for _ in range(30):
            wire = stack.enter_context(Wire(int(site.url.rpartition(":")[2])))
            wire.send(head).socket.setblocking(False)
            left[wire.socket] = size
        quiet = 0
        while any(left.values()) and quiet < 40:
            before_round = sum(left.values())
            left = {one: _pour(one, rest) for one, rest in left.items()}
            most = max(most, _stored() - before)
            quiet = quiet + 1 if sum(left.values()) == before_round else 0
        assert site.site.bodies.held <= 30 * 65536
        assert most < 2 * 1024 * 1024
    until(lambda: site.site.bodies.held == 0, "all bodies were freed")


def test_a_large_form_needs_a_session(site: RunningSite, admin_user: object) -> None:
    browser = Client()
    browser.force_login(admin_user)  # type: ignore[arg-type]
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    form = b"x=" + b"y" * 1_000_000
    kind = "application/x-www-form-urlencoded"
    with Wire(int(site.url.rpartition(":")[2])) as wire:
        wire.send(request(form, "/admin/login/", authorization="", cookie=cookie, content_type=kind))
        assert wire.answer().status == 403  # by Django, for the missing CSRF token
    for wrong in ("", "sessionid=wrong", "other=1"):
        with Wire(int(site.url.rpartition(":")[2])) as wire:
            wire.send(request(form, "/admin/login/", authorization="", cookie=wrong, content_type=kind))
            assert wire.answer().status == 413


def test_an_error_in_front_of_django_is_json_too(site: RunningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    for name, path in (("_django", "/api/v1/models"), ("_django", "/nothing"), ("metrics", "/metrics")):
        monkeypatch.setattr(site.site, name, mock.AsyncMock(side_effect=fail, answers=lambda scope: True))
        answer = ask(site, path)
        assert (answer.status, answer.code) == (500, "internal_error")
        assert b"secret detail" not in answer.body


def test_a_connection_is_proven_by_a_key_or_a_session_that_is_valid(site: RunningSite, admin_user: object) -> None:
    browser = Client()
    browser.force_login(admin_user)  # type: ignore[arg-type]
    _, key = keys.create(name="infers", scopes=["infer"], actor="test")
    session = f"sessionid={browser.cookies['sessionid'].value}"
    cases: list[tuple[str, dict[str, str], bool]] = [
        ("/admin/", {"cookie": session}, True),
        ("/admin/", {"cookie": "sessionid=wrong"}, False),
        ("/admin/login/", {}, False),
        ("/api/v1/models", {"authorization": f"Bearer {key}"}, True),
        ("/api/v1/models", {"authorization": "Bearer noa_wrong"}, False),
        ("/metrics", {}, False),
    ]
    for path, headers, proven in cases:
        with Wire(int(site.url.rpartition(":")[2])) as wire:
            wire.send(request(b"", path, method="GET", **({"authorization": ""} | headers))).answer("GET")
            (connection,) = site.server.server_state.connections
            assert connection.is_proven is proven, (path, headers)  # type: ignore[union-attr]
        until(lambda: not site.server.server_state.connections, "the connection had ended")
