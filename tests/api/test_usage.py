"""GET models/{key}/usage, models/statistics and the access log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from models_app.domain.records.access import AccessRecord
from models_app.models import RegisteredModel
from models_app.services.access_log import store as access
from models_app.services.catalog import activity
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]
KEY = "llama.cpp:tiny"


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_reads", activity._Reads())


@pytest.fixture
def model(make_model: MakeModel) -> RegisteredModel:
    return make_model("tiny")


def store(*ids: str, **changes: Any) -> None:
    fields: dict[str, Any] = {"model_key": KEY, "status": 200, "duration_ms": 100.0, "prompt_tokens": 3}
    now = changes.pop("at", timezone.now()).timestamp()
    access.store([AccessRecord(one, now, "chat/completions", **fields | changes) for one in ids])


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["request_id"] for row in answer.json()["requests"]]


def test_usage_has_totals_series_and_keys(admin: Api, model: RegisteredModel) -> None:
    store("a", at=datetime(2026, 1, 1, 5, 30, tzinfo=UTC), key_id="k", cost_usd=0.5, ttft_ms=5.0)
    answer = admin.get(f"/models/{KEY}/usage?from=2026-01-01T05:15:00Z&to=2026-01-01T08:00:00%2B02:00&group_by=hour")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["from"], body["to"]) == ("2026-01-01T05:00:00Z", "2026-01-01T06:00:00Z")
    assert (body["accesses"], body["totals"]["requests"], body["totals"]["cost_usd"]) == (1, 1, 0.5)
    assert [(point["start"], point["requests"]) for point in body["series"]] == [("2026-01-01T05:00:00Z", 1)]
    assert [one["key_id"] for one in body["by_key"]] == ["k"]


def test_a_read_of_a_model_is_seen_in_its_usage(admin: Api, model: RegisteredModel) -> None:
    for _ in range(2):
        admin.get(f"/models/{KEY}")
    assert admin.get(f"/models/{KEY}/usage").json()["accesses"] == 2


@pytest.mark.parametrize(
    "question",
    [
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=0000-01-01T00:00:00Z",
        "to=9999-12-31T23:59:59Z",
        "to=9999-12-31T23:59:59-10:00",
        "from=0001-01-01T00:00:00%2B10:00",
        "from=2026-01-01T00:00:00",
        "from=2026-01-01",
        "from=yesterday",
        "from=",
        "from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&group_by=day",
        "group_by=minute",
        "group_by=",
        "since=2026-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("place", [f"/models/{KEY}/usage", "/models/statistics"])
def test_an_impossible_period_is_refused(admin: Api, model: RegisteredModel, place: str, question: str) -> None:
    answer = admin.get(f"{place}?{question}")
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"]["param"] in ("from", "to", "group_by", "since")


def test_the_usage_of_an_unknown_model_is_not_found(admin: Api, db: None) -> None:
    assert admin.get("/models/llama.cpp:none/usage").status_code == 404
    assert admin.get("/models/llama.cpp:/usage").status_code == 400


def test_statistics_are_answered(admin: Api, model: RegisteredModel) -> None:
    store("a", "b")
    body = admin.get("/models/statistics?limit=1").json()
    assert body["models"]["total"] == 1
    assert body["period"]["requests"] == 2
    assert body["most_used"][0]["access_count"] == 2
    assert body["top_performing"][0]["key"] == KEY


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", ""])
def test_lists_of_statistics_are_bounded(admin: Api, limit: str) -> None:
    assert admin.get(f"/models/statistics?limit={limit}").status_code == 400


def test_the_access_log_is_newest_first_in_pages(admin: Api) -> None:
    store("a", "b", "c")
    first = admin.get("/access-log?limit=2")
    assert ids(first) == ["c", "b"]
    path = first.json()["next"].partition("/api/v1")[2]
    assert ids(admin.get(path)) == ["a"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("model=openai:x", ["b"]),
        ("route=current", ["b"]),
        ("key=k", ["b"]),
        ("status=502", ["b"]),
        ("error_code=engine_error", ["b"]),
        ("stream=true", ["b"]),
        ("stream=false", ["a"]),
        ("request_id=b", ["b"]),
        ("request_id=theirs", ["b"]),
        ("since=2026-01-02T00:00:00Z", ["b"]),
        ("until=2026-01-02T00:00:00Z", ["a"]),
        ("status=502&stream=false", []),
        ("model=", []),
    ],
)
def test_the_access_log_is_filtered(admin: Api, question: str, expected: list[str]) -> None:
    store("a", at=datetime(2026, 1, 1, tzinfo=UTC))
    store(
        "b",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        model_key="openai:x",
        route="current",
        key_id="k",
        status=502,
        error_code="engine_error",
        stream=True,
        client_request_id="theirs",
    )
    assert ids(admin.get(f"/access-log?{question}")) == expected


@pytest.mark.parametrize(
    "question",
    [
        "status=99",
        "status=ok",
        "stream=yes",
        "since=now",
        "model=%00",
        "limit=0",
        "before=x",
        "q=x",
        "until=9999-12-31T23:59:59-10:00",
    ],
)
def test_a_wrong_filter_of_the_access_log_is_refused(admin: Api, question: str) -> None:
    assert admin.get(f"/access-log?{question}").status_code == 400


def test_one_request_is_found_by_either_id(admin: Api) -> None:
    store("a", client_request_id="theirs", cost_usd=0.125)
    body = admin.get("/access-log/theirs").json()
    assert (body["request_id"], body["cost_usd"], body["ttft_ms"]) == ("a", 0.125, None)
    assert admin.get("/access-log/a").json() == body


@pytest.mark.parametrize("request_id", ["none", quote("ü" * 300)])
def test_an_unknown_request_is_not_found(admin: Api, request_id: str) -> None:
    answer = admin.get(f"/access-log/{request_id}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "request_not_found"


@pytest.mark.parametrize("path", ["/access-log", "/access-log/a", "/models/statistics", f"/models/{KEY}/usage"])
def test_reading_needs_the_scope_for_it(api: Callable[..., Api], path: str) -> None:
    assert api().get(path).status_code == 401
    assert api("infer").get(path).status_code == 403
    assert api("read").get(path).status_code in (200, 404)
