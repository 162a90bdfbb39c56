"""The dependencies of readiness, and the reason when one is missing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import DatabaseError
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import LoadFailed, NoaError
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.demand import EVERYTHING, NOTHING, ColdModel, Permission
from models_app.domain.residency.readiness import PartState
from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, ModelEntry, RemoteEndpoint, Snapshot, Target
from models_app.engines import control
from models_app.models import Instance, Job, Node
from models_app.services.lifecycle import loading
from models_app.services.nodes import nodes
from models_app.services.reporting import readiness
from models_app.services.reporting.readiness import Outside
from models_app.services.runners import node
from tests.services.conftest import Watch
from tests.services.served import loaded_model

pytestmark = pytest.mark.django_db


def test_a_worker_that_beats_is_heard_of(watch: Watch) -> None:
    assert readiness.worker() == "No worker has started."
    nodes.take(wait=lambda seconds: None)
    assert readiness.worker() == ""
    watch(60)
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


def leading_to(target: Target | None, *, back_at: float | None = None, **fields: Any) -> Snapshot:
    entry = ModelEntry(
        "llama.cpp:a", "a", "llama.cpp", 0, target, back_at=back_at, permission=fields.pop("permission", EVERYTHING)
    )
    models = {entry.key: entry, **fields.pop("models", {})}
    return Snapshot(1, routes={"current": entry.key, "empty": None}, models=models, **fields)


def target(path: str, *, key: str = "llama.cpp:a", **fields: Any) -> Target:
    return Target(key, fields.pop("instance_id", "i"), path, frozenset(), **fields)


def remote_entry(key: str) -> ModelEntry:
    provider, _, model_id = key.partition(":")
    endpoint = RemoteEndpoint(provider, ProviderKind.OPENAI, "https://x.example", model_id, "a-key")
    return ModelEntry(key, model_id, provider, 0, target("", key=key, remote=endpoint))


def outside(obstacle: NoaError | None = None, *, failing: str = "") -> Outside:
    return Outside(
        obstacle=lambda key, permission: obstacle if permission.load else ColdModel(key),
        provider_wait=lambda remote: 4.2 if remote.provider == failing else 0.0,
    )


def state(snapshot: Snapshot, name: str = "current", known: Outside | None = None) -> PartState:
    return readiness.answers(snapshot, name, known or outside()).state


def test_a_snapshot_must_have_been_read() -> None:
    assert "have not been read" in readiness.snapshot(EMPTY_SNAPSHOT)
    assert readiness.snapshot(Snapshot(0)) == ""


def test_all_migrations_must_be_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness._schema, "is_current", False)
    last = MigrationRecorder.Migration.objects.filter(app="models_app").latest("pk")
    last.delete()
    assert f"the first is models_app.{last.name}" in readiness.schema()
    MigrationRecorder.Migration.objects.create(app=last.app, name=last.name)
    assert readiness.schema() == ""
    with mock.patch.object(readiness, "MigrationExecutor", side_effect=DatabaseError("gone")):
        assert readiness.schema() == ""


def test_nothing_failed_where_current_leads_nowhere() -> None:
    snapshot = Snapshot(1, routes={"current": None})
    report = readiness.answers(snapshot, "current", outside())
    assert (report.state, report.is_ok, report.would_answer) == (PartState.UNSET, True, False)
    assert state(Snapshot(1)) is PartState.FAILED


def test_a_model_that_the_next_request_loads_is_cold() -> None:
    nodes.take(wait=lambda seconds: None)
    report = readiness.answers(leading_to(None), "current", outside())
    assert (report.state, report.is_ok, report.would_answer) == (PartState.COLD, True, True)
    assert "'llama.cpp:a' is cold" in report.why
    assert state(leading_to(None), "llama.cpp:a") is PartState.COLD


def test_a_model_that_no_worker_can_load_is_not_cold() -> None:
    report = readiness.answers(leading_to(None), "current", outside())
    assert report.state is PartState.FAILED
    assert "No worker has started" in report.why


@pytest.mark.parametrize(
    ("snapshot", "obstacle", "why"),
    [
        (leading_to(None, permission=NOTHING), None, "requests do not load it"),
        (leading_to(None, permissions={"current": NOTHING}), None, "requests do not load it"),
        (leading_to(None), LoadFailed("Its file is broken.", stage="load"), "Its file is broken."),
    ],
    ids=["model", "route", "failed"],
)
def test_a_model_that_no_request_may_load_has_failed(snapshot: Snapshot, obstacle: NoaError | None, why: str) -> None:
    nodes.take(wait=lambda seconds: None)
    report = readiness.answers(snapshot, "current", outside(obstacle))
    assert (report.state, report.would_answer) == (PartState.FAILED, False)
    assert why in report.why


def test_a_model_in_recovery_is_waited_for() -> None:
    assert state(leading_to(None, back_at=1.0)) is PartState.RECOVERING


@pytest.mark.django_db(transaction=True)
def test_a_loaded_model_must_answer(two_models: Path, start_node: Callable[..., None], do: Callable[..., Job]) -> None:
    start_node()
    nodes.take(wait=lambda seconds: None)
    do(loading.load, key="llama.cpp:a", options=LoadOptions())
    instance = Instance.objects.get()
    snapshot = leading_to(target(instance.socket))
    assert state(snapshot) is PartState.OK
    control.drain(instance.socket, wait=0)
    # It is being unloaded: requests wait until they load it again.
    assert state(snapshot) is PartState.COLD
    assert state(replace(snapshot, permissions={"current": NOTHING})) is PartState.FAILED
    node.stop()
    assert "does not answer" in readiness.answers(snapshot, "current", outside()).why


def test_one_copy_of_a_model_is_enough() -> None:
    elsewhere = loaded_model("/elsewhere.sock").instances.get()
    copies = (
        target("/nowhere.sock", copies=2),
        target(elsewhere.socket, address="https://other", instance_id=str(elsewhere.pk), copies=2),
    )
    entry = ModelEntry("llama.cpp:a", "a", "llama.cpp", 0, copies[0], others=copies[1:])
    snapshot = Snapshot(1, routes={"current": entry.key}, models={entry.key: entry})
    assert state(snapshot) is PartState.FAILED
    Instance.objects.update(health="healthy")
    assert state(snapshot) is PartState.OK


def test_a_remote_model_answers_while_its_provider_gets_requests() -> None:
    entry = remote_entry("box:m")
    snapshot = Snapshot(1, routes={"current": entry.key}, models={entry.key: entry})
    assert state(snapshot) is PartState.OK
    report = readiness.answers(snapshot, "current", outside(failing="box"))
    assert report.state is PartState.FAILED
    assert "gets no requests for 5 s" in report.why


@pytest.mark.parametrize("own", [None, target("/nowhere.sock")], ids=["cold", "dead"])
def test_a_fallback_answers_for_the_target(own: Target | None) -> None:
    fallback = remote_entry("box:m")
    snapshot = leading_to(own, models={"box:m": fallback}, fallbacks={"current": ("gone:x", "box:m")})
    report = readiness.answers(snapshot, "current", outside())
    assert report.state is PartState.OK
    assert "The fallback 'box:m' answers." in report.why
    # Neither does it for the model's own name, nor while its provider fails.
    assert state(snapshot, "llama.cpp:a") is PartState.FAILED
    assert state(snapshot, known=outside(failing="box")) is PartState.FAILED


def test_a_database_that_is_away_loads_nothing() -> None:
    def obstacle(key: str, permission: Permission) -> NoaError | None:
        raise DatabaseError("gone")

    known = Outside(obstacle=obstacle, provider_wait=lambda remote: 0.0)
    assert "the database does not answer" in readiness.answers(leading_to(None), "current", known).why


def test_a_runner_elsewhere_is_as_well_as_its_worker_reports() -> None:
    model = loaded_model("/elsewhere.sock")
    instance = model.instances.get()
    snapshot = leading_to(target(instance.socket, address="https://other", instance_id=str(instance.pk)))
    assert state(snapshot) is PartState.FAILED
    model.instances.update(health="healthy")
    assert state(snapshot) is PartState.OK
    model.instances.all().delete()
    assert "not loaded any more" in readiness.answers(snapshot, "current", outside()).why
