"""Live metrics from roll-ups equal those computed from the requests."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from models_app.domain.records.access import AccessRecord
from models_app.domain.windows import WINDOWS, RollupStep
from models_app.models import AccessLog, RegisteredModel, Traffic
from models_app.services.access_log import store
from models_app.services.rollups import live_metrics
from tests.services.served import KEY, registered_model

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 13, 47, 30, tzinfo=UTC)
_numbers = count()


def ago(**lengths: float) -> datetime:
    return NOW - timedelta(**lengths)


def record(at: datetime, **changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {"model_key": KEY, "route": "current", "status": 200, "duration_ms": 100.0}
    return AccessRecord(f"l{next(_numbers)}", at.timestamp(), "chat/completions", **fields | changes)


def test_a_window_holds_what_happened_in_it_and_nothing_older() -> None:
    store.store([record(ago(seconds=10)), record(ago(seconds=50)), record(ago(minutes=3)), record(ago(hours=3))])
    asked = {name: live_metrics.live(window=name, now=NOW).total.requests for name in ("1m", "5m", "1h")}
    assert asked == {"1m": 2, "5m": 3, "1h": 3}
    assert live_metrics.live(window="1d", now=NOW).total.requests == 4


def test_figures_are_those_of_the_requests() -> None:
    chance = random.Random(7)
    durations = [chance.lognormvariate(5, 1) for _ in range(500)]
    store.store(
        [
            record(
                ago(seconds=20),
                duration_ms=took,
                ttft_ms=took / 10,
                prompt_tokens=10,
                completion_tokens=11,
                cost_usd=0.001,
                status=200 if number % 10 else 502,
            )
            for number, took in enumerate(durations)
        ]
    )
    found = live_metrics.live(window="1m", now=NOW)
    total, seconds = found.total, (NOW - found.start).total_seconds()
    assert total.requests_per_second == pytest.approx(500 / seconds, abs=1e-4)
    assert (total.errors, total.error_rate) == (50, 0.1)
    assert (total.prompt_tokens, total.completion_tokens) == (5_000, 5_500)
    assert total.cost_usd == Decimal("0.5")
    durations.sort()
    for percentile, rank in ((total.latency_ms.p50, 250), (total.latency_ms.p95, 475)):
        assert percentile == pytest.approx(durations[rank - 1], rel=0.05)
    assert total.ttft_ms.p99 == pytest.approx(durations[494] / 10, rel=0.05)
    assert total.average_latency_ms == pytest.approx(sum(durations) / 500, abs=0.01)
    assert total.tokens_per_second == pytest.approx(5_000_000 / (0.9 * sum(durations)), rel=0.001)


def test_models_and_routes_have_their_shares() -> None:
    store.store(
        [
            record(ago(seconds=1)),
            record(ago(seconds=2)),
            record(ago(seconds=3), route="fast"),
            record(ago(seconds=4), model_key="openai:x", route="fast"),
            record(ago(seconds=5), model_key="openai:x", route=""),
            record(ago(seconds=6), model_key="", route="", status=401, error_code="invalid_api_key"),
        ]
    )
    found = live_metrics.live(window="5m", now=NOW)
    assert [(one.name, one.metrics.requests) for one in found.models] == [(KEY, 3), ("openai:x", 2)]
    assert [(one.name, one.metrics.requests) for one in found.routes] == [("current", 2), ("fast", 2)]
    assert found.total.requests == 6
    assert live_metrics.live(window="5m", model=KEY, route="fast", now=NOW).total.requests == 1
    assert live_metrics.live(window="5m", route="fast", now=NOW).total.requests == 2


@pytest.mark.parametrize("window", WINDOWS)
def test_a_series_has_every_point_and_every_request(window: str) -> None:
    length = WINDOWS[window].length * 0.95
    store.store([record(NOW - length * part / 10) for part in range(11)])
    found = live_metrics.series(window=window, now=NOW)
    assert sum(point.metrics.requests for point in found.points) == 11
    step = WINDOWS[window].chart_step.length
    starts = [point.start for point in found.points]
    assert all(later - earlier == step for earlier, later in zip(starts, starts[1:], strict=False))
    assert found.points[-1].seconds == pytest.approx(min(step.total_seconds(), (NOW - starts[-1]).total_seconds()))
    of_model = live_metrics.series(window=window, model=KEY, route="current", now=NOW)
    assert of_model.points == found.points
    assert not any(
        point.metrics.requests for point in live_metrics.series(window=window, model="openai:x", now=NOW).points
    )


def test_no_request_of_the_log_is_read_for_it() -> None:
    store.store([record(ago(seconds=1))])
    for read in (live_metrics.live, live_metrics.series):
        with CaptureQueriesContext(connection) as queries:
            read(now=NOW)
        assert len(queries) == 1
        assert AccessLog._meta.db_table not in queries[0]["sql"]


def test_nothing_has_no_figures() -> None:
    total = live_metrics.live(now=NOW).total
    assert (total.requests, total.requests_per_second, total.cost_usd) == (0, 0.0, Decimal(0))
    assert total.error_rate is total.latency_ms.p50 is total.tokens_per_second is None


def test_short_steps_are_deleted_once_no_window_needs_them() -> None:
    store.store([record(ago(hours=1)), record(ago(hours=3)), record(ago(days=3)), record(ago(days=20))])
    assert live_metrics.delete_old(now=NOW) > 0
    left = {step: Traffic.objects.filter(step=step, model_key=KEY).count() for step in RollupStep}
    assert left == {"minute": 1, "ten_minutes": 2, "hour": 3, "day": 3, "ever": 1}


def test_a_models_averages_follow_its_requests() -> None:
    registered_model()
    store.store([record(ago(seconds=9), duration_ms=1100.0, ttft_ms=100.0, completion_tokens=101)])
    model = RegisteredModel.objects.get(key=KEY)
    assert (model.inference_count, model.average_latency_ms) == (1, 1100.0)
    assert (model.average_success_rate, model.average_tokens_per_second) == (1.0, 100.0)
    store.store([record(ago(seconds=5), status=502, error_code="runner_died", duration_ms=0.0)])
    model.refresh_from_db()
    assert model.inference_count == 2
    assert model.average_success_rate == pytest.approx(0.95)
    assert model.average_latency_ms == pytest.approx(1045.0)
    assert model.average_tokens_per_second == 100.0
    store.store([record(ago(seconds=1), duration_ms=10.0) for _ in range(200)])
    model.refresh_from_db()
    assert model.average_latency_ms == pytest.approx(10.0, abs=0.1)
