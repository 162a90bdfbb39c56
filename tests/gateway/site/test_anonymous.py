"""Requests without a key, of every kind, leave a bounded number of rows and bytes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.conf import settings

from models_app.gateway.edge.app import ENDPOINTS
from models_app.models import AccessLog, AuditEntry, Traffic
from tests.api.walking import addresses
from tests.gateway.site.test_site import RunningSite

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 300
# Rows that any number of anonymous requests make within two minutes: see `refusals` and the audit log.
MOST_ROWS = 100
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "NONSENSE")
PATHS = sorted({path for path, _ in addresses()} | {endpoint.path for endpoint in ENDPOINTS})
GATEWAY = ("/v1/models", "/v1/nothing", "/metrics", "/readyz", "/livez")
MORE = (*GATEWAY, "/favicon.ico", "/static/noa/logo.svg", "/%00", "/x")


class Visitor:
    """Sends requests over one connection; `headers` identify no user."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=60)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
        try:
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            return 0
        return answer.status

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def visited(tmp_path: Path) -> Iterator[RunningSite]:
    running = RunningSite().start()
    yield running
    if running.thread.is_alive():
        running.stop()


def rows() -> int:
    return sum(model._default_manager.count() for model in apps.get_models())


def size_of_files() -> int:
    # The database file grows by whole pages for the same rows; its rows are counted.
    folder = Path(settings.NOA_DATA_DIR)
    files = [path for path in folder.rglob("*") if path.is_file() and "sqlite3" not in path.name]
    return sum(path.stat().st_size for path in files)


def test_every_route_with_every_method(visited: RunningSite) -> None:
    visitor, before, bytes_before = Visitor(visited.url), rows(), size_of_files()
    headers = {"Content-Type": "application/json"}
    for path in (*PATHS, *MORE):
        for method in METHODS:
            status = visitor.send(method, path, headers, b"{}" if method == "POST" else b"")
            assert status < 500 or path == "/readyz", (method, path)
    visitor.close()
    visited.stop()
    assert rows() - before <= MOST_ROWS
    assert size_of_files() - bytes_before < 100_000


@pytest.mark.parametrize(
    ("name", "method", "path", "headers"),
    [
        ("no key", "POST", "/api/v1/models", {}),
        ("random keys", "DELETE", "/api/v1/routes/x", {"Authorization": "Bearer noa_{}_secret"}),
        ("random sessions", "POST", "/api/v1/providers", {"Cookie": "sessionid=a{}"}),
        ("random session pages", "GET", "/admin/", {"Cookie": "sessionid=a{}; csrftoken=b{}"}),
        ("log-ins without a token", "POST", "/admin/login/", {}),
        ("other hosts", "GET", "/admin/login/", {"Host": "evil{}.example"}),
        ("inference", "POST", "/v1/chat/completions", {"Authorization": "Bearer noa_{}_secret"}),
        ("idempotency keys", "POST", "/api/v1/models/load", {"Idempotency-Key": "k{}"}),
        ("request ids", "POST", "/v1/embeddings", {"X-Request-ID": "id{}"}),
    ],
)
def test_many_requests_of_a_kind(
    visited: RunningSite,
    capfd: pytest.CaptureFixture[str],
    name: str,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    visitor, before, bytes_before = Visitor(visited.url), rows(), size_of_files()
    body = json.dumps({"model": "current"}).encode() if method == "POST" else b""
    for number in range(COUNT):
        filled = {key: value.replace("{}", str(number)) for key, value in headers.items()}
        assert visitor.send(method, path, filled, body) in (302, 400, 401, 403, 429)
    visitor.close()
    visited.stop()
    assert rows() - before <= MOST_ROWS
    assert size_of_files() - bytes_before < 100_000
    # The server's log.
    assert len(capfd.readouterr().err) < 5_000
    if path.startswith("/v1"):
        # Every request is in the metrics all the same.
        assert sum(row.requests or 1 for row in AccessLog.objects.all()) == COUNT
        total = Traffic.objects.get(step="ever", model_key="", route="")
        assert (total.requests, total.errors) == (COUNT, COUNT)
    elif method != "GET" and "login" not in path:
        summed = sum(entry.arguments.get("calls", 1) for entry in AuditEntry.objects.all())
        assert summed == COUNT
