"""Reads are counted in memory and written periodically."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from models_app.models import Activity, RegisteredModel
from models_app.services.catalog import activity, lookup
from models_app.services.rollups import rollups
from tests.waiting import until

pytestmark = pytest.mark.django_db

KEY = "llama.cpp:tiny"


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_reads", activity._Reads())


@pytest.fixture(autouse=True)
def model(db: None) -> RegisteredModel:
    return RegisteredModel.objects.create(provider=lookup.local_provider(), model_id="tiny", key=KEY)


def stored() -> int:
    return RegisteredModel.objects.get(key=KEY).access_count


def test_reads_count_at_once_and_write_nothing(model: RegisteredModel) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            activity.count_read(key=KEY)
    assert (len(queries), stored()) == (0, 0)
    count, last = activity.accesses(key=KEY)
    assert count == 3
    assert last is not None


def test_a_model_that_was_never_read_has_no_last_access() -> None:
    assert activity.accesses(key=KEY) == (0, None)


def test_an_unknown_model_has_no_accesses() -> None:
    activity.count_read(key="openai:none")
    assert activity.accesses(key="openai:none") == (0, None)
    assert activity.accesses_of(["openai:none"]) == {}
    activity.flush()


def test_a_flush_changes_no_answer(model: RegisteredModel) -> None:
    for _ in range(3):
        activity.count_read(key=KEY)
    before = activity.accesses(key=KEY)
    activity.flush()
    assert activity.accesses(key=KEY) == before
    assert stored() == 3
    activity.flush()
    assert stored() == 3
    row = Activity.objects.get()
    assert (row.model_key, row.key_id, row.reads, row.requests) == (KEY, "", 3, 0)


def test_many_models_are_one_query() -> None:
    for number in range(5):
        RegisteredModel.objects.create(
            provider=lookup.local_provider(), model_id=f"m{number}", key=f"llama.cpp:m{number}"
        )
        activity.count_read(key=f"llama.cpp:m{number}")
    keys = [f"llama.cpp:m{number}" for number in range(5)]
    with CaptureQueriesContext(connection) as queries:
        found = activity.accesses_of(keys)
    assert len(queries) == 1
    assert {count for count, _ in found.values()} == {1}


def test_a_database_that_fails_loses_no_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(sums: Any) -> None:
        raise DatabaseError("The database is away.")

    activity.count_read(key=KEY)
    with monkeypatch.context() as patch:
        patch.setattr(rollups, "add", fail)
        with pytest.raises(DatabaseError):
            activity.flush()
    activity.count_read(key=KEY)
    assert activity.accesses(key=KEY)[0] == 2
    activity.flush()
    assert stored() == 2


@pytest.fixture
def flusher(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(activity, "FLUSH_SECONDS", 0.01)
    activity.start()
    yield
    activity.stop()


@pytest.mark.django_db(transaction=True)
def test_it_flushes_by_itself_and_at_the_end(flusher: None, model: RegisteredModel) -> None:
    activity.count_read(key=KEY)
    until(lambda: stored() == 1, "the read was written")
    activity.count_read(key=KEY)
    activity.stop()
    assert stored() == 2


@pytest.mark.django_db(transaction=True)
def test_nobody_ever_sees_a_read_twice_or_not_at_all(flusher: None, model: RegisteredModel) -> None:
    over = threading.Event()
    wrong: list[tuple[int, int, int]] = []
    done = 0

    def look() -> None:
        while not over.is_set():
            low = done
            seen, _ = activity.accesses(key=KEY)
            if not low <= seen <= done + 1:
                wrong.append((low, seen, done))
        connection.close()

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(1, 3001):
        activity.count_read(key=KEY)
        done = number
    over.set()
    watcher.join()
    assert wrong == []
    assert activity.accesses(key=KEY)[0] == 3000
