"""`/livez` and `/readyz` report the current state, give reasons to authorized clients only, and never hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.edge import readiness
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.readiness import Probes

KEY = "noa_a-key"
KEYS = {hash_api_key(KEY): KeyEntry("id", frozenset(), None)}


def ask(
    probes: Probes,
    path: str = "/readyz",
    *,
    method: str = "GET",
    client: str | None = "127.0.0.1",
    **headers: str,
) -> tuple[int, Any]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [
            (name.replace("_", "-").encode(), value.encode())
            for name, value in ({"host": "127.0.0.1:8000"} | headers).items()
        ],
        "client": (client, 1) if client else None,
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("Nothing is read.")

    assert Probes.answers(scope)
    asyncio.run(probes(scope, receive, send))
    body = sent[1]["body"]
    return sent[0]["status"], orjson.loads(body) if path == "/readyz" and body else body


def probes(**checks: Callable[[], str]) -> Probes:
    return Probes(checks, Doorway(lambda: KEYS))


def well() -> str:
    return ""


def test_the_process_lives_whatever_else_does() -> None:
    assert ask(probes(database=lambda: "away"), "/livez") == (200, b"ok\n")


def test_it_is_ready_when_everything_is() -> None:
    part = {"ok": True, "why": ""}
    assert ask(probes(database=well, broker=well)) == (
        200,
        {"ready": True, "parts": {"database": part, "broker": part}},
    )


def test_it_says_what_is_not_ready_and_why() -> None:
    status, answer = ask(probes(database=lambda: "It is away.", broker=well))
    assert (status, answer["ready"]) == (503, False)
    assert answer["parts"]["database"] == {"ok": False, "why": "It is away."}
    assert answer["parts"]["broker"]["ok"]


def test_a_part_that_hangs_is_named_and_holds_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "LIMIT_SECONDS", 0.05)
    came_back, asked = threading.Event(), []

    def hang() -> str:
        asked.append(threading.current_thread())
        came_back.wait(20)
        return ""

    one = probes(database=hang, broker=well)
    for _ in range(3):
        status, answer = ask(one)
        assert status == 503
        assert "did not answer within" in answer["parts"]["database"]["why"]
        assert answer["parts"]["broker"]["ok"]
    assert len(asked) == 1
    came_back.set()
    asked[0].join(20)
    assert ask(one)[0] == 200


def test_a_check_that_fails_is_no_readiness() -> None:
    status, answer = ask(probes(database=lambda: str(1 / 0)))
    assert (status, answer["parts"]["database"]["why"]) == (
        503,
        "The check failed: ZeroDivisionError.",
    )


def test_a_flood_of_probes_is_one_look() -> None:
    looks: list[str] = []

    def look() -> str:
        looks.append("")
        return ""

    one = probes(database=look)
    for _ in range(50):
        ask(one)
    assert len(looks) < 50


@pytest.mark.parametrize(
    ("client", "headers", "knows"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        (None, {}, True),
        ("10.0.0.7", {}, False),
        ("not an address", {}, False),
        ("127.0.0.1", {"x_forwarded_for": "10.0.0.7"}, False),
        ("10.0.0.7", {"authorization": f"Bearer {KEY}"}, True),
        ("10.0.0.7", {"authorization": "Bearer noa_another"}, False),
    ],
)
def test_only_who_is_here_or_has_a_key_learns_why(client: str | None, headers: dict[str, str], knows: bool) -> None:
    status, answer = ask(probes(database=lambda: "away"), client=client, **headers)
    assert status == 503
    assert ("parts" in answer) == knows


def test_it_is_not_ready_once_it_stops() -> None:
    one = probes(database=well)
    one.closing = True
    assert ask(one) == (503, {"ready": False, "why": "The server is stopping."})
    assert ask(one, "/livez")[0] == 200


def test_it_takes_no_other_method() -> None:
    assert ask(probes(), method="POST")[0] == 405
    assert ask(probes(), method="HEAD")[0] == 200
