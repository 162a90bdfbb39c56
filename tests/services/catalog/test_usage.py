"""Usage of one model, and the statistics of all: both from roll-ups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from models_app.domain.periods import Step
from models_app.domain.records.access import AccessRecord
from models_app.domain.states import ModelStatus
from models_app.models import RegisteredModel, Route
from models_app.services.access_log import store
from models_app.services.api_keys import keys
from models_app.services.catalog import activity, usage
from models_app.services.reporting import statistics
from tests.services.served import KEY, registered_model

pytestmark = pytest.mark.django_db

_numbers = count()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_reads", activity._Reads())


@pytest.fixture(autouse=True)
def model(db: None) -> RegisteredModel:
    return registered_model()


def record(at: datetime, key: str = KEY, **changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {
        "model_key": key,
        "status": 200,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "duration_ms": 100.0,
    }
    return AccessRecord(f"r{next(_numbers)}", at.timestamp(), "chat/completions", **fields | changes)


def at(*numbers: int) -> datetime:
    year, month, day, hour, minute, second = (*numbers, 0, 0, 0)[:6]
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def of_model(since: datetime | None = None, until: datetime | None = None, step: Step = Step.HOUR) -> dict[str, Any]:
    return usage.of_model(key=KEY, since=since, until=until, step=step)


def overview(**arguments: Any) -> dict[str, Any]:
    return statistics.overview(**{"since": None, "until": None, "limit": 5} | arguments)


def test_every_hour_is_there_also_those_without_requests() -> None:
    store.store([record(at(2026, 1, 1, 1, 59)), record(at(2026, 1, 1, 3)), record(at(2026, 1, 1, 3, 30))])
    found = of_model(at(2026, 1, 1), at(2026, 1, 1, 4))
    assert [point["requests"] for point in found["series"]] == [0, 1, 0, 2]
    assert found["series"][0]["start"] == at(2026, 1, 1)
    assert found["totals"]["requests"] == 3
    assert found["totals"]["prompt_tokens"] == 30


def test_days_are_those_of_utc() -> None:
    store.store([record(at(2026, 1, 1, 23, 59)), record(at(2026, 1, 2))])
    found = of_model(at(2026, 1, 1), at(2026, 1, 3), Step.DAY)
    assert [point["requests"] for point in found["series"]] == [1, 1]


def test_what_is_outside_of_the_period_is_not_counted() -> None:
    store.store([record(at(2026, 1, 1)), record(at(2026, 1, 2)), record(at(2026, 1, 1), key="openai:x")])
    found = of_model(at(2026, 1, 1), at(2026, 1, 2))
    assert (found["totals"]["requests"], found["accesses"]) == (1, 2)


def test_nothing_has_no_figures() -> None:
    totals = of_model()["totals"]
    assert totals["requests"] == totals["cost_usd"] == 0
    assert totals["success_rate"] is totals["latency_ms"]["p50"] is totals["ttft_ms"]["p99"] is None


def test_percentiles_are_those_of_all_keys_together() -> None:
    store.store(
        [record(at(2026, 1, 1), key_id=f"k{n % 7}", duration_ms=float(n), ttft_ms=n / 10) for n in range(1, 101)]
    )
    totals = of_model(at(2026, 1, 1), at(2026, 1, 2))["totals"]
    assert totals["latency_ms"]["p50"] == pytest.approx(50, rel=0.05)
    assert totals["latency_ms"]["p99"] == pytest.approx(99, rel=0.05)
    assert totals["latency_ms"]["mean"] == 50.5
    assert totals["ttft_ms"]["p95"] == pytest.approx(9.5, rel=0.05)


def test_who_used_it_has_a_name_where_the_key_is_known() -> None:
    key, _ = keys.create(name="app", scopes=("infer",), actor="test")
    store.store(
        [
            record(at(2026, 1, 1), key_id=key.key_id, cost_usd=0.25),
            record(at(2026, 1, 1), key_id=key.key_id, status=500, error_code="engine_error"),
            record(at(2026, 1, 1), key_id="gone"),
        ]
    )
    found = of_model(at(2026, 1, 1), at(2026, 1, 2))["by_key"]
    assert [(one["key_id"], one["name"], one["requests"], one["errors"]) for one in found] == [
        (key.key_id, "app", 2, 1),
        ("gone", None, 1, 0),
    ]
    assert (float(found[0]["cost_usd"]), found[0]["unpriced"]) == (0.25, 1)


def test_reads_are_in_the_series_once_they_are_written() -> None:
    activity.count_read(key=KEY)
    assert of_model()["accesses"] == 1
    activity.flush()
    found = of_model()
    assert (found["accesses"], found["totals"]["reads"], found["totals"]["requests"]) == (1, 1, 0)
    assert found["by_key"] == []


def test_the_number_of_queries_does_not_grow() -> None:
    store.store([record(at(2026, 1, day), key_id=f"k{day}") for day in range(1, 31)])
    with CaptureQueriesContext(connection) as queries:
        of_model(at(2026, 1, 1), at(2026, 1, 31), Step.DAY)
    assert len(queries) == 4


def test_the_statistics_count_models() -> None:
    other = registered_model("other")
    other.capabilities = ["embeddings"]
    other.deprecated = True
    other.status = ModelStatus.LOADED
    other.save()
    Route.objects.create(name="current", target=other)
    models = overview()["models"]
    assert (models["total"], models["loaded"], models["deprecated"], models["never_accessed"]) == (
        2,
        1,
        1,
        2,
    )
    assert models["current"] == "llama.cpp:other"
    assert models["by_provider"] == {"llama.cpp": 2}
    assert (models["by_status"]["loaded"], models["by_status"]["failed"]) == (1, 0)
    assert (models["by_capability"]["embeddings"], models["by_capability"]["vision"]) == (1, 0)


def test_an_empty_server_has_statistics_too() -> None:
    RegisteredModel.objects.all().delete()
    found = overview()
    assert found["models"]["total"] == found["accesses"]["average"] == found["period"]["requests"] == 0
    assert found["top_performing"] == found["most_used"] == []


def test_reads_and_requests_are_accesses() -> None:
    registered_model("other")
    store.store([record(timezone.now())])
    for _ in range(2):
        activity.count_read(key=KEY)
    assert overview()["accesses"] == {"total": 3, "average": 1.5}
    activity.flush()
    assert overview()["accesses"] == {"total": 3, "average": 1.5}


def test_the_most_used_are_ranked_before_their_reads_are_written() -> None:
    registered_model("other")
    for key in ("llama.cpp:other", KEY, "llama.cpp:other"):
        activity.count_read(key=key)
    found = overview(limit=1)["most_used"]
    assert [(one["key"], one["access_count"]) for one in found] == [("llama.cpp:other", 2)]


def test_the_best_are_ranked_by_what_they_did_in_the_period() -> None:
    registered_model("fast")
    registered_model("idle")
    now = timezone.now()
    timed: dict[str, Any] = {"ttft_ms": 0.0, "duration_ms": 1000.0}
    store.store([record(now, completion_tokens=11, **timed) for _ in range(3)])
    store.store([record(now, "llama.cpp:fast", completion_tokens=51, **timed), record(now, "openai:gone")])
    store.store([record(now - 72 * HOUR, "llama.cpp:idle", completion_tokens=101, **timed)])
    found = overview()["top_performing"]
    assert [one["key"] for one in found] == ["llama.cpp:fast", KEY]
    assert found[0] == {
        "key": "llama.cpp:fast",
        "score": 0.5503,
        "success_rate": 1.0,
        "tokens_per_second": 50.0,
        "requests": 1,
    }


def test_the_period_counts_what_no_model_answered_too() -> None:
    store.store(
        [
            record(timezone.now(), cost_usd=0.5),
            record(timezone.now(), key="", status=401, error_code="invalid_api_key", prompt_tokens=None),
        ]
    )
    period = overview()["period"]
    assert (period["requests"], period["errors"], period["success_rate"]) == (2, 1, 0.5)
    assert (float(period["cost_usd"]), period["unpriced"], period["completion_tokens"]) == (
        0.5,
        0,
        10,
    )


def test_it_says_what_needs_a_look() -> None:
    failed = registered_model("failed")
    RegisteredModel.objects.filter(pk=failed.pk).update(
        status=ModelStatus.FAILED, failure_stage="load", failure_reason="No tensors."
    )
    RegisteredModel.objects.exclude(pk=failed.pk).update(status=ModelStatus.LOADED)
    registered_model("unused")
    RegisteredModel.objects.filter(model_id="unused").update(status=ModelStatus.LOADED)
    store.store([record(timezone.now()), record(timezone.now(), status=502, error_code="runner_died")])
    attention = overview()["attention"]
    assert [(one["key"], one["reason"]) for one in attention["load_failed"]] == [("llama.cpp:failed", "No tensors.")]
    assert attention["loaded_and_not_asked"] == ["llama.cpp:unused"]
    assert attention["failing"] == [{"key": KEY, "requests": 2, "errors": 1, "error_rate": 0.5}]


def test_the_statistics_take_as_many_queries_for_many_models() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            overview()
        return len(captured)

    store.store([record(timezone.now())])
    few = queries()
    for number in range(20):
        registered_model(f"m{number}")
        store.store([record(timezone.now(), f"llama.cpp:m{number}", key_id=f"k{number}")])
    assert queries() == few
