"""No thread holds a database connection while it waits, and readiness has its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from django.conf import settings
from django.db import connection, connections, transaction

import models_app
from models_app.models import Node, RegisteredModel
from models_app.services.catalog import lookup
from models_app.services.coordination.connections import beside_the_pool, release
from models_app.services.reporting import readiness

ROOT = Path(models_app.__file__).parent
# Calls that wait for another process, another thread or a clock.
WAITS = {"wait", "sleep", "wait_ready", "drain", "canary", "list_all", "watched", "health", "batches"}
# The objects whose method of such a name does not wait, and waits for which a stated reason holds.
NOT_WAITING = {
    ("waiting", "wait"),  # releases the connection itself
    ("self._changed", "wait"),  # by `waiting.wait`, after its release
    ("_waiters", "wait"),
    ("eviction", "drain"),
    ("draining", "drain"),
}
# Function: why it can keep its connection.
ALLOWED = {
    "services/lifecycle/admission.py:_use": "one per node, in the transaction of its admission",
    "services/profiling/profiling.py:_samples": "reports its progress after each batch, which releases it",
    "services/profiling/profiling.py:_warm_up": "checks for a cancellation after each batch, which releases it",
    "services/reporting/readiness.py:_reason": "has a connection of its own",
    "services/runners/health.py:_compute_token": "after the release for the health check of the same runner",
    "services/access_log/tracing.py:_send": "on a thread of its own, which uses no database",
    "tasks/worker.py:start": "one thread, at the start of the process",
}


@pytest.mark.django_db(transaction=True)
def test_release_returns_the_connection_outside_of_a_transaction_only() -> None:
    assert Node.objects.count() == 0
    assert connection.connection is not None
    release()
    assert connection.connection is None
    with transaction.atomic():
        assert Node.objects.count() == 0
        release()
        assert connection.connection is not None


@pytest.mark.django_db(transaction=True)
def test_the_checks_of_readiness_use_a_connection_of_their_own() -> None:
    Node.objects.create(name="a")
    shared = connections["default"]
    shared.close()

    def look() -> bool:
        own = connections["default"]
        assert own is not shared
        assert Node.objects.filter(name="a").exists()
        return own.connection is not None

    assert beside_the_pool(look)()
    assert connections["default"] is shared
    assert shared.connection is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no pool")
def test_readiness_answers_while_every_connection_of_the_pool_is_in_use() -> None:
    size = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    connection.close()
    everything_taken, may_end = Barrier(size + 1), Event()

    def hold() -> None:
        with transaction.atomic():
            assert Node.objects.count() == 0
            everything_taken.wait(20)
            assert may_end.wait(60)
        connection.close()

    with ThreadPoolExecutor(size) as pool:
        held = [pool.submit(hold) for _ in range(size)]
        everything_taken.wait(20)
        try:
            assert beside_the_pool(readiness.database)() == ""
            assert "No worker" in beside_the_pool(readiness.worker)()
            assert "does not answer" in readiness.database()
        finally:
            may_end.set()
        for one in held:
            one.result(20)


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for floor in ("services", "tasks", "api", "admin"):
        for path in sorted((ROOT / floor).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    yield f"{path.relative_to(ROOT)}:{node.name}", node


def waits(function: ast.FunctionDef) -> list[str]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    found = [call.func for call in calls if isinstance(call.func, ast.Attribute)]
    found = [name for name in found if name.attr in WAITS or ast.unparse(name) == "asyncio.run"]
    named = [(ast.unparse(name.value), name.attr) for name in found]
    return [f"{owner}.{name}" for owner, name in named if (owner, name) not in NOT_WAITING]


def test_each_function_that_waits_releases_its_connection_first() -> None:
    guilty = [
        f"{name}: {', '.join(found)}"
        for name, function in functions()
        if (found := waits(function)) and "release()" not in ast.unparse(function) and name not in ALLOWED
    ]
    assert guilty == []


def test_the_exceptions_exist() -> None:
    names = {name for name, function in functions() if waits(function)}
    assert ALLOWED.keys() <= names


@pytest.mark.django_db(transaction=True)
def test_rows_that_were_read_beside_the_pool_find_their_relations() -> None:
    provider = lookup.local_provider()
    RegisteredModel.objects.create(provider=provider, model_id="a", key="llama.cpp:a")
    found = beside_the_pool(lambda: RegisteredModel.objects.get().provider.slug)()
    assert found == provider.slug
