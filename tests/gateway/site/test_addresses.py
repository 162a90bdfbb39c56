"""Keys that are bound to addresses, at every address of a web process, behind a trusted proxy and without one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from models_app.domain.scopes import Scope
from models_app.gateway.http.server import FrontProtocol, Server
from models_app.services.api_keys import keys
from tests.gateway.site.test_site import RunningSite

pytestmark = pytest.mark.django_db(transaction=True)

INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.1"
CALLS = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/current"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/metrics"),
    ("GET", "/api/v1/me"),
    ("GET", "/api/v1/events"),
    ("POST", "/api/v1/api-keys"),
]


class AddressedSite(RunningSite):
    """With trusted proxies it uses their header, as `noa_site.web` does."""

    def __init__(self, *trusted: str) -> None:
        super().__init__()
        config = uvicorn.Config(
            self.site,
            port=0,
            http=FrontProtocol,
            lifespan="on",
            ws="none",
            log_config=None,
            proxy_headers=bool(trusted),
            forwarded_allow_ips=list(trusted),
        )
        self.server = Server(config, self._end)
        self.thread = type(self.thread)(target=self.server.run)


@pytest.fixture
def proxied() -> Iterator[RunningSite]:
    running = AddressedSite("127.0.0.1").start()
    yield running
    running.stop()


@pytest.fixture
def direct() -> Iterator[RunningSite]:
    running = AddressedSite().start()
    yield running
    running.stop()


def answer(site: RunningSite, method: str, path: str, key: str, forwarded: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=20)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    if forwarded:
        headers["X-Forwarded-For"] = forwarded
    connection.request(method, path, b'{"model": "x"}' if method == "POST" else None, headers)
    found: Any = connection.getresponse()
    result = found.status, found.read()
    connection.close()
    return result


def refused(found: tuple[int, bytes]) -> bool:
    return found[0] == 403 and b"from this address" in found[1]


def test_the_client_behind_a_trusted_proxy_counts(proxied: RunningSite) -> None:
    limits = {"addresses": ["203.0.113.0/24"]}
    text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test", limits=limits)[1]
    for method, path in CALLS:
        assert not refused(answer(proxied, method, path, text, INSIDE)), path
        assert refused(answer(proxied, method, path, text, OUTSIDE)), path
        # Only the last proxy is trusted: what it received from the client is the client's claim.
        assert refused(answer(proxied, method, path, text, f"{INSIDE}, {OUTSIDE}")), path


def test_the_header_of_an_untrusted_client_does_not_count(direct: RunningSite) -> None:
    limits = {"addresses": ["203.0.113.0/24"]}
    text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test", limits=limits)[1]
    here = keys.create(name="h", scopes=[Scope.ADMIN], actor="test", limits={"addresses": ["127.0.0.1"]})[1]
    for method, path in CALLS:
        for forwarded in ("", INSIDE):
            assert refused(answer(direct, method, path, text, forwarded)), path
            assert not refused(answer(direct, method, path, here, forwarded)), path
