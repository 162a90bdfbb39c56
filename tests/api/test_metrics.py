"""GET metrics/live and metrics/series."""

from __future__ import annotations

import pytest
from django.utils import timezone

from models_app.domain.records.access import AccessRecord
from models_app.services.access_log import store
from tests.api.conftest import Api

KEY = "openai:x/y"


@pytest.fixture(autouse=True)
def asked(db: None) -> None:
    now = timezone.now().timestamp()
    store.store(
        [
            AccessRecord(
                "a",
                now,
                "chat/completions",
                model_key=KEY,
                route="current",
                status=200,
                duration_ms=80.0,
                cost_usd=0.25,
            ),
            AccessRecord("b", now, "embeddings", model_key="openai:z", status=200, duration_ms=5.0),
        ]
    )


def test_live_metrics_tell_all_models_and_routes(admin: Api) -> None:
    body = admin.get("/metrics/live").json()
    assert (body["window"], body["total"]["requests"]) == ("5m", 2)
    assert {one["name"]: one["requests"] for one in body["models"]} == {KEY: 1, "openai:z": 1}
    (route,) = body["routes"]
    assert (route["name"], route["cost_usd"]) == ("current", 0.25)
    assert route["latency_ms"]["p50"] == pytest.approx(80.0, rel=0.05)


@pytest.mark.parametrize(("query", "count"), [("", 2), (f"&model={KEY}", 1), ("&route=current", 1), ("&route=no", 0)])
def test_both_take_a_model_and_a_route(admin: Api, query: str, count: int) -> None:
    live = admin.get(f"/metrics/live?window=1h{query}").json()
    assert live["total"]["requests"] == count
    series = admin.get(f"/metrics/series?window=1d{query}").json()
    assert series["step"] == "ten_minutes"
    assert sum(point["requests"] for point in series["points"]) == count


@pytest.mark.parametrize("path", ["/metrics/live", "/metrics/series"])
def test_wrong_questions_are_refused(admin: Api, path: str) -> None:
    for query in ("window=2h", "models=x", "model=%00"):
        answer = admin.get(f"{path}?{query}")
        assert answer.status_code == 400, answer.content
