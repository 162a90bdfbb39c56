"""`/livez` and `/readyz` report the current state, give reasons to authorized clients only, and never hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from models_app.domain.residency.readiness import PartReport, PartState
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.edge import readiness
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.readiness import Check, Probes

KEY = "noa_a-key"
BOUND_KEY = "noa_a-bound-key"
KEYS = {
    hash_api_key(KEY): KeyEntry("id", frozenset(), None),
    hash_api_key(BOUND_KEY): KeyEntry("bound", frozenset(), None, allowed_models=frozenset({"mine"})),
}


def ask(
    probes: Probes,
    path: str = "/readyz",
    *,
    method: str = "GET",
    client: str | None = "127.0.0.1",
    query: str = "",
    **headers: str,
) -> tuple[int, Any]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
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


def probes(
    required: dict[str, Check] | None = None, model: Callable[[str], PartReport] | None = None, **reported: Check
) -> Probes:
    return Probes(reported, Doorway(lambda: KEYS), required=required, model=model)


def well() -> str:
    return ""


def test_the_process_lives_whatever_else_does() -> None:
    assert ask(probes(database=lambda: "away"), "/livez") == (200, b"ok\n")
    # Clients that know llama-server ask this path.
    assert ask(probes(database=lambda: "away"), "/health") == (200, b'{"status":"ok"}')


def test_it_is_ready_when_everything_is() -> None:
    part = {"ok": True, "state": "ok", "why": ""}
    assert ask(probes({"schema": well}, broker=well)) == (
        200,
        {"ready": True, "state": "ready", "parts": {"schema": part, "broker": part}},
    )


def test_a_part_that_all_web_processes_share_takes_none_of_them_away() -> None:
    status, answer = ask(probes({"schema": well}, database=lambda: "It is away.", broker=well))
    assert (status, answer["ready"], answer["state"]) == (200, True, "degraded")
    assert answer["parts"]["database"] == {"ok": False, "state": "failed", "why": "It is away."}
    assert answer["parts"]["broker"]["ok"]


def test_a_part_of_the_process_itself_does() -> None:
    status, answer = ask(probes({"schema": lambda: "It is old."}, broker=well))
    assert (status, answer["ready"], answer["state"]) == (503, False, "not_ready")
    assert answer["parts"]["schema"] == {"ok": False, "state": "failed", "why": "It is old."}


@pytest.mark.parametrize("state", PartState)
def test_a_model_takes_no_process_away(state: PartState) -> None:
    status, answer = ask(probes(current=lambda: PartReport(state, "Why.")))
    assert (status, answer["ready"]) == (200, True)
    assert answer["state"] == ("degraded" if state is PartState.FAILED else "ready")
    assert answer["parts"]["current"] == {"ok": state is not PartState.FAILED, "state": state.value, "why": "Why."}


@pytest.mark.parametrize("state", PartState)
def test_a_monitor_asks_whether_a_model_would_answer(state: PartState) -> None:
    names: list[str] = []

    def model(name: str) -> PartReport:
        names.append(name)
        return PartReport(state, "Why.")

    status, answer = ask(probes(model=model, broker=well), query="model=current")
    would_answer = state in (PartState.OK, PartState.COLD, PartState.RECOVERING)
    assert (status, answer["ready"]) == ((200, True) if would_answer else (503, False))
    assert answer["model"]["name"] == "current" and answer["model"]["state"] == state.value
    assert names == ["current"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("require=broker", 200),
        ("require=database", 503),
        ("require=broker,database", 503),
        ("require=broker&require=database", 503),
        ("require=", 200),
        ("require=nonsense", 400),
    ],
)
def test_a_monitor_requires_further_parts(query: str, status: int) -> None:
    one = probes({"schema": well}, database=lambda: "away", broker=well)
    assert ask(one, query=query)[0] == status


def test_only_a_client_that_may_see_reasons_asks_for_any_model() -> None:
    one = probes(model=lambda name: PartReport())
    assert ask(one, query="model=secret", client="10.0.0.7")[0] == 400
    assert ask(one, query="model=current", client="10.0.0.7") == (200, {"ready": True})
    assert ask(one, query="model=secret", client="10.0.0.7", authorization=f"Bearer {KEY}")[0] == 200
    assert ask(one, query="model=mine", client="10.0.0.7", authorization=f"Bearer {BOUND_KEY}")[0] == 200
    for name in ("secret", "current"):
        assert ask(one, query=f"model={name}", client="10.0.0.7", authorization=f"Bearer {BOUND_KEY}")[0] == 403


def test_the_names_that_are_kept_are_bounded() -> None:
    one = probes(model=lambda name: PartReport(PartState.FAILED, name))
    for number in range(300):
        assert ask(one, query=f"model=m{number}")[1]["model"]["why"] == f"m{number}"
    assert len(one._models) <= 64


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
        assert (status, answer["state"]) == (200, "degraded")
        assert "did not answer within" in answer["parts"]["database"]["why"]
        assert answer["parts"]["broker"]["ok"]
    assert len(asked) == 1
    came_back.set()
    asked[0].join(20)
    assert ask(one)[1]["state"] == "ready"


def test_a_check_that_fails_is_no_readiness() -> None:
    status, answer = ask(probes({"database": lambda: str(1 / 0)}))
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
    status, answer = ask(probes({"database": lambda: "away"}), client=client, **headers)
    assert status == 503
    assert ("parts" in answer) == knows


def test_it_is_not_ready_once_it_stops() -> None:
    one = probes(database=well)
    one.closing = True
    assert ask(one) == (503, {"ready": False, "state": "stopping", "why": "The server is stopping."})
    assert ask(one, "/livez")[0] == 200


def test_it_takes_no_other_method() -> None:
    assert ask(probes(), method="POST")[0] == 405
    assert ask(probes(), method="HEAD")[0] == 200


ELSEWHERE = KeyLimits(addresses=("203.0.113.0/24",))


@pytest.mark.parametrize("client", ["127.0.0.1", "10.0.0.7"])
@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
@pytest.mark.parametrize(
    ("entry", "sees"),
    [
        (None, False),
        (KeyEntry("id", frozenset({"infer"}), 1.0), False),
        (KeyEntry("id", frozenset({"admin"}), None, limits=ELSEWHERE), False),
        (KeyEntry("id", frozenset({"infer"}), None), True),
    ],
    ids=["unknown", "expired", "bound to other addresses", "good"],
)
def test_the_reasons_are_for_keys_that_are_good(entry: KeyEntry | None, sees: bool, header: str, client: str) -> None:
    one = Probes({}, Doorway(lambda: {hash_api_key(KEY): entry} if entry else {}))
    sent = {header: f"Bearer {KEY}" if header == "authorization" else KEY}
    assert ("parts" in ask(one, client=client, **sent)[1]) == sees
