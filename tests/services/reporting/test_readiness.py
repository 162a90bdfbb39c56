"""The dependencies of readiness, and the reason when one is missing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import DatabaseError
from django.db.models.functions import Now

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.traffic.routing import ModelEntry, RemoteEndpoint, Snapshot, Target
from models_app.models import Instance, Job, Node
from models_app.services.lifecycle import loading
from models_app.services.nodes import nodes
from models_app.services.reporting import readiness
from models_app.services.runners import node
from tests.services.served import loaded_model

pytestmark = pytest.mark.django_db


def test_a_worker_that_beats_is_heard_of() -> None:
    assert readiness.worker() == "No worker has started."
    nodes.take(wait=lambda seconds: None)
    assert readiness.worker() == ""
    Node.objects.update(heartbeat_at=Now() - timedelta(seconds=60))
    assert "arrived 60 seconds ago" in readiness.worker()


def test_another_workers_heart_is_not_the_embedded_ones() -> None:
    Node.objects.create(name="other", pid=os.getpid(), heartbeat_at=Now())
    assert readiness.worker() == "No worker has started."


def test_a_database_that_fails_is_named() -> None:
    assert readiness.database() == ""
    with mock.patch.object(Node.objects, "exists", side_effect=DatabaseError("gone away\nmore")):
        assert readiness.database() == "The database does not answer: gone away."


def test_a_broker_that_is_away_or_hangs_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert readiness.broker() == ""
    settings.NOA_EMBEDDED = False
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    assert "The broker does not answer" in readiness.broker()
    monkeypatch.setattr(readiness, "_ANSWER_SECONDS", 0.1)
    # It accepts connections, as the kernel does for a stopped program, and does not answer.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert "The broker does not answer" in readiness.broker()


def leading_to(target: Target | None, *, back_at: float | None = None) -> Snapshot:
    entry = ModelEntry("llama.cpp:a", "a", "llama.cpp", 0, target, back_at=back_at)
    return Snapshot(1, routes={"current": entry.key}, models={entry.key: entry})


def target(path: str, **fields: Any) -> Target:
    return Target("llama.cpp:a", fields.pop("instance_id", "i"), path, frozenset(), **fields)


def test_nothing_is_promised_where_current_leads_nowhere() -> None:
    assert readiness.current(Snapshot(1)) == ""
    assert readiness.current(Snapshot(1, routes={"current": None})) == ""


def test_a_current_model_must_be_loaded() -> None:
    assert "is not loaded" in readiness.current(leading_to(None))
    assert "is being recovered" in readiness.current(leading_to(None, back_at=1.0))


@pytest.mark.django_db(transaction=True)
def test_a_current_model_must_answer(two_models: Path, start_node: Callable[..., None], do: Callable[..., Job]) -> None:
    start_node()
    do(loading.load, key="llama.cpp:a", options=LoadOptions())
    instance = Instance.objects.get()
    assert readiness.current(leading_to(target(instance.socket))) == ""
    node.stop()
    assert "does not answer" in readiness.current(leading_to(target(instance.socket)))


def test_a_remote_model_is_believed() -> None:
    endpoint = mock.Mock(spec=RemoteEndpoint)
    assert readiness.current(leading_to(target("", remote=endpoint))) == ""


def test_a_runner_elsewhere_is_as_well_as_its_worker_says() -> None:
    model = loaded_model("/elsewhere.sock")
    instance = model.instances.get()
    there = target(instance.socket, address="https://other", instance_id=str(instance.pk))
    assert readiness.current(leading_to(there)).startswith("'llama.cpp:a':")
    model.instances.update(health="healthy")
    assert readiness.current(leading_to(there)) == ""
    model.instances.all().delete()
    assert "not loaded any more" in readiness.current(leading_to(there))
