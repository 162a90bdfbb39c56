"""Changes of other processes are detected: on PostgreSQL by NOTIFY, on SQLite by its count of commits."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from models_app.domain.events import EventName
from models_app.services.coordination import notifications, signals
from models_app.services.coordination.notifications import Follower
from models_app.services.events import events
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

_STORE = "INSERT INTO models_app_routingrevision (id, revision) VALUES (77, 1)"


@pytest.fixture
def heard(settings: Any) -> Iterator[threading.Semaphore]:
    """Released once for each notification from another process."""
    settings.NOA_WEB_PROCESSES = 2
    received = threading.Semaphore(0)

    def count(**_: Any) -> None:
        received.release()

    signals.database_changed.connect(count)
    follower = Follower()
    follower.start()
    until(_is_following, "the follower had begun")
    # PostgreSQL: it has published once, for the changes from before LISTEN.
    received.acquire(timeout=5 if connection.vendor == "postgresql" else 0.2)
    yield received
    follower.stop()
    signals.database_changed.disconnect(count)


def _is_following() -> bool:
    return any(thread.name == "notifications" for thread in threading.enumerate())


def elsewhere(sql: str) -> None:
    """Another process commits."""
    if connection.vendor == "postgresql":
        params: Any = connection.get_connection_params()
        params = {key: params[key] for key in ("dbname", "user", "host", "port")}
        with psycopg.connect(**params) as other:
            other.execute(sql.encode())
            other.execute("SELECT pg_notify(%s, 'another')", [notifications.CHANNEL])
    else:
        name = str(connection.settings_dict["NAME"])
        program = f"import sqlite3; c = sqlite3.connect({name!r}, timeout=9); c.execute({sql!r}); c.commit()"
        subprocess.run([sys.executable, "-c", program], check=True)


def test_what_another_process_commits_is_heard(heard: threading.Semaphore) -> None:
    elsewhere(_STORE)
    assert heard.acquire(timeout=10)


def test_on_postgres_a_change_is_told_with_its_commit_and_not_before() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite counts commits by itself")
    with notifications._listening(connection) as listener:
        with transaction.atomic():
            events.publish(name=EventName.INITIALIZED)
            assert list(listener.notifies(timeout=0.1)) == []
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [notifications.ORIGIN]
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            events.publish(name=EventName.INITIALIZED)
            raise ZeroDivisionError
        assert list(listener.notifies(timeout=0.1)) == []


def test_on_postgres_a_cut_listener_listens_again(heard: threading.Semaphore) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that could cut a connection")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert cursor.fetchall() == [(True,)]
    # It publishes once for changes that it can have missed.
    assert heard.acquire(timeout=10)
    elsewhere(_STORE)
    assert heard.acquire(timeout=10)


def test_one_process_with_sqlite_has_nobody_to_hear_of() -> None:
    if connection.vendor == "postgresql":
        pytest.skip("on PostgreSQL there may always be others")
    follower = Follower()
    follower.start()
    assert not _is_following()
    follower.stop()
