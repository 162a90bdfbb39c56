"""`/metrics` is open to this machine, and to keys with its scope."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.edge import metrics
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.metrics import MetricsPage

KEYS = {
    hash_api_key("scrapes"): KeyEntry("a", frozenset({"metrics:read"}), None),
    hash_api_key("infers"): KeyEntry("b", frozenset({"infer"}), None),
    hash_api_key("admins"): KeyEntry("c", frozenset({"admin"}), None),
}


def ask(page: MetricsPage, *, client: str = "127.0.0.1", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "path": "/metrics",
        "method": method,
        "client": (client, 1),
        "headers": [
            (name.replace("_", "-").encode(), text.encode())
            for name, text in ({"host": "localhost:8000"} | headers).items()
        ],
    }
    assert MetricsPage.answers(scope)
    asyncio.run(page(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def made(text: bytes = b"noa_up 1\n") -> MetricsPage:
    return MetricsPage(lambda: text, Doorway(lambda: KEYS))


def test_this_machine_needs_no_key() -> None:
    assert ask(made()) == (200, b"noa_up 1\n")
    assert ask(made(), client="::1") == (200, b"noa_up 1\n")


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("unknown", 401), ("infers", 403), ("scrapes", 200), ("admins", 200)]
)
@pytest.mark.parametrize("way", [{"client": "10.0.0.7"}, {"x_forwarded_for": "10.0.0.7"}])
def test_others_need_the_scope(key: str, status: int, way: dict[str, str]) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    found, body = ask(made(), **way, **headers)
    assert found == status
    assert (b"noa_up" in body) == (status == 200)


ELSEWHERE = KeyLimits(addresses=("203.0.113.0/24",))
UNUSABLE = {
    "unknown": (None, 401),
    "expired": (KeyEntry("a", frozenset({"metrics:read"}), 1.0), 401),
    "other scope": (KeyEntry("a", frozenset({"read"}), None), 403),
    "other address": (KeyEntry("a", frozenset({"admin"}), None, limits=ELSEWHERE), 403),
}


@pytest.mark.parametrize("client", ["127.0.0.1", "10.0.0.7"])
@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_that_is_sent_is_checked_on_this_machine_too(name: str, header: str, client: str) -> None:
    entry, status = UNUSABLE[name]
    doorway = Doorway(lambda: {hash_api_key("noa_k"): entry} if entry else {})
    page = MetricsPage(lambda: b"noa_up 1\n", doorway)
    assert ask(page, client=client, **{header: "Bearer noa_k" if header == "authorization" else "noa_k"})[0] == status


def test_it_is_only_read() -> None:
    assert ask(made(), method="POST")[0] == 405


def test_a_page_that_hangs_is_told_as_it_was_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_LIMIT_SECONDS", 0.1)
    monkeypatch.setattr(metrics, "_CACHE_SECONDS", 0.0)
    gate, calls = threading.Event(), [0]

    def slow() -> bytes:
        calls[0] += 1
        if calls[0] > 1:
            gate.wait(10)
        return b"page %d\n" % calls[0]

    page = MetricsPage(slow, Doorway(lambda: KEYS))
    assert ask(page) == (200, b"page 1\n")
    for _ in range(5):
        assert ask(page) == (200, b"page 1\n")
    assert calls[0] == 2
    gate.set()
