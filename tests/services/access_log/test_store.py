"""The access log and its roll-ups."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.records.access import AccessRecord, Origin
from models_app.domain.windows import RollupStep
from models_app.models import AccessLog, Activity, GatewayProcess, RegisteredModel, Traffic
from models_app.services.access_log import quarantine, store
from models_app.services.catalog import lookup

pytestmark = pytest.mark.django_db

KEY = "llama.cpp:tiny"
HOUR = datetime(2023, 11, 14, 22, tzinfo=UTC)

# The log has no use for them.
ONLY_IN_TRACES = ("parent_id", "trace_state", "is_sampled")


def record(request_id: str, **changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {"started_at": 1_700_000_000.5, "endpoint": "chat/completions", "status": 200}
    return AccessRecord(request_id, **fields | changes)


@pytest.fixture
def model() -> RegisteredModel:
    return RegisteredModel.objects.create(provider=lookup.local_provider(), model_id="tiny", key=KEY)


def test_it_stores_a_batch() -> None:
    store.store([record("a", ttft_ms=1.5, prompt_tokens=3), record("b")])
    row = AccessLog.objects.get(request_id="a")
    assert (row.ttft_ms, row.prompt_tokens, row.completion_tokens) == (1.5, 3, None)
    assert row.started_at.timestamp() == 1_700_000_000.5
    assert (row.stream, row.aborted, row.cost_usd) == (False, False, None)
    assert AccessLog.objects.count() == 2


def test_it_stores_every_field_of_a_record() -> None:
    given = record(
        "a",
        key_id="k",
        requested_model="current",
        route="current",
        model_key=KEY,
        instance_id="i",
        stream=True,
        version="0123456789ab",
        node="n",
        queue_ms=1.5,
        load_wait_ms=2.5,
        error_code="runner_died",
        cached_tokens=1,
        completion_tokens=2,
        reasoning_tokens=3,
        cache_write_tokens=4,
        cost_usd=0.00125,
        provider="llama.cpp",
        duration_ms=10.5,
        attempts=2,
        client="::1",
        client_request_id="c",
        aborted=True,
        estimated=True,
    )
    store.store([given])
    row = AccessLog.objects.get()
    assert row.cost_usd == Decimal("0.00125")
    for name in AccessRecord.__slots__:
        if name not in ("cost_usd", "started_at", *ONLY_IN_TRACES):
            assert getattr(row, name) == getattr(given, name), name


def test_a_batch_that_comes_twice_changes_nothing(model: RegisteredModel) -> None:
    batch = [record("a", model_key=KEY, prompt_tokens=5), record("b", model_key=KEY)]
    store.store(batch)
    before = (sums(), accesses())
    store.store(batch)
    assert AccessLog.objects.count() == 2
    assert (sums(), accesses()) == before
    store.store([*batch, record("c", model_key=KEY)])
    assert accesses() == 3


def test_an_id_that_comes_twice_in_a_batch_is_counted_once(model: RegisteredModel) -> None:
    store.store([record("a", model_key=KEY), record("a", model_key=KEY)])
    assert (AccessLog.objects.count(), accesses()) == (1, 1)


def test_it_adds_up_by_model_hour_and_key(model: RegisteredModel) -> None:
    store.store(
        [
            record(
                "a",
                model_key=KEY,
                key_id="k1",
                prompt_tokens=10,
                completion_tokens=5,
                cached_tokens=2,
                cost_usd=0.5,
                duration_ms=1100.0,
                ttft_ms=100.0,
            ),
            # Its tokens came together: they have no speed.
            record(
                "b", model_key=KEY, key_id="k1", prompt_tokens=1, completion_tokens=99, duration_ms=50.0, ttft_ms=49.9
            ),
            record("c", model_key=KEY, key_id="k2", status=502, error_code="runner_died", duration_ms=5.0),
            record("d", model_key=KEY, key_id="k2", status=499, error_code="client_left", aborted=True),
            record("e", model_key=KEY, key_id="k2", started_at=1_700_000_000.5 + 3600),
            record("f", status=401, error_code="invalid_api_key"),
        ]
    )
    first = Activity.objects.get(model_key=KEY, hour=HOUR, key_id="k1")
    assert (first.requests, first.errors, first.aborted, first.unpriced) == (2, 0, 0, 1)
    assert (first.prompt_tokens, first.cached_tokens, first.completion_tokens) == (11, 2, 104)
    assert (first.cost_usd, first.duration_ms) == (Decimal("0.5"), 1150.0)
    assert (first.timed_tokens, first.generation_ms) == (4, 1000.0)
    assert (sum(first.durations.values()), sum(first.ttfts.values())) == (2, 2)
    second = Activity.objects.get(model_key=KEY, hour=HOUR, key_id="k2")
    assert (second.requests, second.errors, second.aborted, second.unpriced) == (2, 1, 1, 0)
    assert Activity.objects.get(model_key="").errors == 1
    everything = Activity.objects.get(model_key="*", hour=HOUR)
    assert (everything.requests, everything.errors, everything.prompt_tokens) == (5, 2, 11)
    assert sum(everything.durations.values()) == 5
    assert Activity.objects.count() == 6


def test_it_adds_up_by_step_model_and_route(model: RegisteredModel) -> None:
    store.store(
        [
            record("a", model_key=KEY, route="current", key_id="k1", prompt_tokens=10, duration_ms=5.0),
            record("b", model_key=KEY, route="current", key_id="k2", prompt_tokens=1, started_at=1_700_000_030.0),
            record("c", model_key=KEY, prompt_tokens=4),
        ]
    )

    def stored(step: RollupStep, key: str, route: str) -> list[tuple[datetime, int, int]]:
        rows = Traffic.objects.filter(step=step, model_key=key, route=route).order_by("start")
        return list(rows.values_list("start", "requests", "prompt_tokens"))

    minute, ten = HOUR.replace(minute=13), HOUR.replace(minute=10)
    assert stored(RollupStep.MINUTE, KEY, "current") == [(minute, 2, 11)]
    assert stored(RollupStep.MINUTE, KEY, "") == [(minute, 1, 4)]
    assert stored(RollupStep.MINUTE, "*", "*") == [(minute, 3, 15)]
    assert stored(RollupStep.TEN_MINUTES, KEY, "current") == [(ten, 2, 11)]
    assert stored(RollupStep.HOUR, KEY, "current") == [(HOUR, 2, 11)]
    assert stored(RollupStep.DAY, "*", "*") == [(HOUR.replace(hour=0), 3, 15)]
    assert Traffic.objects.count() == 3 * len(RollupStep)


def test_it_counts_the_accesses_of_the_model(model: RegisteredModel) -> None:
    store.store([record("a", model_key=KEY), record("b", model_key=KEY, started_at=1_700_000_100)])
    store.store([record("c", model_key=KEY, started_at=1_600_000_000)])
    model.refresh_from_db()
    assert model.access_count == 3
    assert model.last_accessed_at == datetime.fromtimestamp(1_700_000_100, UTC)


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 10_000, "<script>"])
def test_no_text_can_spoil_a_batch(text: str) -> None:
    batch = [record("a", requested_model=text, model_key=text, key_id=text), record("b")]
    store.store(batch)
    store.store(batch)
    assert AccessLog.objects.count() == 2
    assert len(AccessLog.objects.get(request_id="a").requested_model) <= 255


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_lose_nothing(model: RegisteredModel) -> None:
    keys = [f"k{n}" for n in range(7)]

    def write(writer: int) -> None:
        try:
            for batch in range(5):
                order = keys if writer % 2 else keys[::-1]
                store.store([record(f"{writer}-{batch}-{key}", model_key=KEY, key_id=key) for key in order])
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accesses() == sums().pop(("*", "")) == 4 * 5 * 7
    assert sum(sums().values()) == 2 * 4 * 5 * 7


ORIGIN = Origin("0123456789abcdef", "n1", 7, 1_700_000_000.5, recorded=3, dropped=2)


def test_a_batch_is_added_to_the_counts_of_its_process() -> None:
    begin = timezone.now()
    store.store([record("a"), record("b")], ORIGIN)
    process = GatewayProcess.objects.get()
    assert (process.recorder, process.node, process.pid) == ("0123456789abcdef", "n1", 7)
    assert process.started_at.timestamp() == 1_700_000_000.5
    assert begin <= process.seen_at <= timezone.now()
    assert counts(process) == (3, 2, 2, 0)


def test_counts_of_a_process_grow_with_each_batch_and_never_shrink() -> None:
    store.store([record("a"), record("b")], ORIGIN)
    GatewayProcess.objects.update(seen_at=datetime(2020, 1, 1, tzinfo=UTC))
    # One record came before, and the batch was made before the first one.
    store.store([record("b"), record("c")], Origin("0123456789abcdef", "n1", 7, 1_700_000_000.5, recorded=2, dropped=1))
    process = GatewayProcess.objects.get()
    assert process.seen_at.year > 2020
    assert counts(process) == (3, 2, 3, 0)
    store.store([], Origin("0123456789abcdef", "n1", 7, 1_700_000_000.5, recorded=5, dropped=4))
    assert counts(GatewayProcess.objects.get()) == (5, 4, 3, 0)
    store.store([record("d")], Origin("other", "n1", 8, 1_700_000_001.0))
    assert counts(GatewayProcess.objects.get(recorder="other")) == (0, 0, 1, 0)
    assert counts(GatewayProcess.objects.get(pid=7)) == (5, 4, 3, 0)


def test_a_batch_without_a_process_is_counted_for_none() -> None:
    store.store([record("a")])
    assert not GatewayProcess.objects.exists()


@pytest.mark.parametrize("bad", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_only_what_the_database_refuses_is_put_aside(bad: tuple[int, ...], settings: Any, tmp_path: Path) -> None:
    settings.NOA_DATA_DIR = tmp_path
    quarantine.folder().mkdir()
    batch = [record(str(number), status=-1 if number in bad else 200) for number in range(3)]
    store.store(batch, ORIGIN)
    kept = {str(number) for number in range(3) if number not in bad}
    assert set(AccessLog.objects.values_list("request_id", flat=True)) == kept
    assert counts(GatewayProcess.objects.get()) == (3, 2, 3 - len(bad), len(bad))
    lines = [json.loads(line) for line in quarantine.path().read_text().splitlines()]
    assert [line["record"]["request_id"] for line in lines] == [str(number) for number in bad]
    assert all("CHECK" in line["reason"] or "check" in line["reason"] for line in lines)


def test_texts_are_stored_as_far_as_their_columns_hold_them(model: RegisteredModel) -> None:
    long = "é" * 300
    store.store([record("a", model_key=long, route=long, key_id=long, client=long, error_code=long, provider=long)])
    row = AccessLog.objects.get()
    assert (row.model_key, row.route, row.key_id) == (long[:255], long[:64], long[:32])
    assert (row.client, row.error_code, row.provider) == (long[:64], long[:64], long[:64])
    assert Activity.objects.get(model_key=long[:255]).key_id == long[:32]


@pytest.mark.parametrize("cost", [0.0, 0.1, 1e-10, 12345678.0000000001])
def test_a_cost_keeps_ten_digits(cost: float) -> None:
    store.store([record("a", cost_usd=cost)])
    assert AccessLog.objects.get().cost_usd == Decimal(repr(cost)).quantize(Decimal("1e-10"))


def test_records_of_different_times_are_all_found_again() -> None:
    """Also those at the ends of the batch's time, and with fractions that the database rounds."""
    times = [1_700_000_000.1234567, 1_700_000_500.0, 1_700_086_399.9999999]
    batch = [record(str(number), started_at=at) for number, at in enumerate(times)]
    for again in (batch, batch[:1], batch[2:], batch[::-1], [batch[1]]):
        store.store(again)
        assert AccessLog.objects.count() == 3


def test_a_stored_row_holds_the_columns_own_text() -> None:
    store.store([record("a\0b", requested_model="m\ud800")])
    store.store([record("a\0b", requested_model="m\ud800")])
    row = AccessLog.objects.get()
    assert (row.request_id, row.requested_model) == ("a\ufffdb", "m?")


def counts(process: GatewayProcess) -> tuple[int, int, int, int]:
    return process.recorded, process.dropped, process.stored, process.quarantined


def sums() -> dict[tuple[str, str], int]:
    return {(row.model_key, row.key_id): row.requests for row in Activity.objects.all()}


def accesses() -> int:
    return RegisteredModel.objects.get(key=KEY).access_count
