"""The access log is deleted day by day after its retention time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from models_app.domain.records.access import AccessRecord
from models_app.models import AccessLog, Activity
from models_app.services.access_log import retention, upkeep
from models_app.services.access_log import store as access
from models_app.services.rollups import partitions

NOW = datetime(2026, 11, 24, 13, 30, tzinfo=UTC)


def store(*days_ago: float, each: int = 1) -> None:
    access.store(
        [
            AccessRecord(f"{ago}-{number}", (NOW - timedelta(days=ago)).timestamp(), "chat/completions", status=200)
            for ago in days_ago
            for number in range(each)
        ]
    )


def days() -> list[int]:
    return sorted((NOW.date() - at.date()).days for at in AccessLog.objects.values_list("started_at", flat=True))


@pytest.mark.django_db
def test_days_that_are_over_for_long_enough_go(settings: Any) -> None:
    settings.NOA_ACCESS_LOG_DAYS = 3
    store(0, 1, 2, 3, 4, 5, 40)
    assert retention.access_log(now=NOW) == 3
    assert days() == [0, 1, 2, 3]
    assert retention.access_log(now=NOW) == 0
    assert sum(row.requests for row in Activity.objects.filter(model_key="*")) == 7


@pytest.mark.django_db
def test_many_rows_go_in_chunks(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NOA_ACCESS_LOG_DAYS = 1
    monkeypatch.setattr(retention, "CHUNK", 7)
    store(0, each=5)
    store(3, each=23)
    retention.access_log(now=NOW)
    assert AccessLog.objects.count() == 5


@pytest.mark.django_db
def test_upkeep_keeps_what_is_new() -> None:
    access.store([AccessRecord("new", datetime.now(UTC).timestamp(), "embeddings", status=200)])
    upkeep.retain()
    upkeep.recover_spools()
    assert AccessLog.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")
def test_each_day_is_a_table_that_is_made_ahead_and_dropped_whole(settings: Any) -> None:
    settings.NOA_ACCESS_LOG_DAYS = 2
    store(0, 1, 9, each=3)
    today = datetime.now(UTC).date()
    retention.access_log(now=NOW)
    there = partitions.existing()
    assert {today + timedelta(days=ahead) for ahead in range(4)} <= there
    assert date(2026, 11, 23) in there
    assert date(2026, 11, 15) not in there
    # A dropped partition is created again for a late record.
    store(9, each=1)
    assert AccessLog.objects.count() == 7


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")
def test_a_batch_reads_only_the_days_that_it_is_about() -> None:
    store(0, 1, 2, 3, each=2)
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN SELECT request_id FROM models_app_accesslog WHERE request_id IN ('a', 'b')"
            " AND started_at >= '2026-11-24 13:00+00' AND started_at <= '2026-11-24 14:00+00'"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "p20261124" in plan
    assert "p20261123" not in plan
