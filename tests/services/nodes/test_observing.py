"""Heartbeats are judged by what a process has seen of them, never by comparing clocks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import DatabaseError
from django.db.models import F
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_app.domain.states import InstanceState
from models_app.models import Instance, Node, RegisteredModel
from models_app.services.nodes import nodes, placement
from models_app.services.nodes.observing import LOOK_SECONDS, Observer
from models_app.services.runners import failover, instances
from tests.services.conftest import Watch
from tests.services.served import loaded_model, registered_model

pytestmark = pytest.mark.django_db

DAY = 86400.0
# Seconds between two looks: regular, late, or after a standstill.
GAPS = st.one_of(st.just(LOOK_SECONDS), st.floats(0.0, 2.5), st.floats(10.0, 7200.0))
STEPS = st.one_of(st.just(0.0), st.floats(-DAY, DAY))


def other(**fields: Any) -> Node:
    return Node.objects.create(**{"name": "other", "pid": 4, "generation": 1, "heartbeat_at": Now()} | fields)


def step(seconds: float) -> None:
    """The database's clock is set: from now on heartbeats have other times."""
    Node.objects.update(heartbeat_at=F("heartbeat_at") + timedelta(seconds=seconds))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(GAPS, STEPS), min_size=1, max_size=30))
def test_a_node_that_sends_heartbeats_is_never_lost(history: list[tuple[float, float]]) -> None:
    Node.objects.all().delete()
    other()
    now = [0.0]
    observer = Observer(lambda: now[0])
    for gap, set_by in history:
        now[0] += gap
        # After a standstill of everything, this process can look before the other has sent its next heartbeat.
        assert observer.look()["other"].observed <= 2 * LOOK_SECONDS
        step(set_by + 2.0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(GAPS, min_size=3, max_size=30))
def test_one_that_sends_none_is_lost_after_as_much_observation(gaps: list[float]) -> None:
    Node.objects.all().delete()
    other(heartbeat_at=Now() + timedelta(days=1))
    now = [0.0]
    observer = Observer(lambda: now[0])
    observer.look()
    for gap in gaps:
        now[0] += gap
        observer.look()
    assert observer.look()["other"].observed == pytest.approx(sum(min(gap, LOOK_SECONDS) for gap in gaps))


def test_a_database_that_was_away_makes_no_node_late(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    other()
    watch(8)
    with monkeypatch.context() as patched:
        patched.setattr(Node.objects, "filter", mock.Mock(side_effect=DatabaseError("away")))
        with pytest.raises(DatabaseError):
            watch(60)
    assert nodes.lost() == []
    assert "other" in placement.up().values_list("name", flat=True)


@pytest.mark.parametrize("set_by", [-DAY, -11.0, 11.0, DAY])
def test_a_step_of_the_databases_clock_loses_no_node(watch: Watch, set_by: float) -> None:
    other()
    watch(4, "other")
    step(set_by)
    watch(2)
    assert (nodes.stale(), nodes.lost()) == ({}, [])


def test_a_node_found_dead_by_a_new_process_is_not_used_and_lost_only_after_observation(watch: Watch) -> None:
    other(heartbeat_at=Now() - timedelta(seconds=60))
    assert not placement.up().exists()
    assert nodes.lost() == []
    watch(nodes.LOST_AFTER_SECONDS + 1)
    assert [row.name for row in nodes.lost()] == ["other"]


@pytest.mark.parametrize("returns", [True, False])
def test_a_node_that_returns_while_it_is_written_off_keeps_the_rest(
    watch: Watch, two_loaded: list[Instance], monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    row = other(name="elsewhere")
    watch(nodes.LOST_AFTER_SECONDS + 1)
    assert [lost.name for lost in nodes.lost()] == ["elsewhere"]
    move, moved = instances.move, []

    def move_slowly(**named: Any) -> bool:
        moved.append(named["instance"].pk)
        found = move(**named)
        if returns:
            # This process stood still here, and the node's worker has sent a heartbeat.
            assert nodes.heartbeat(nodes.Ownership(row.name, row.generation))
        return found

    monkeypatch.setattr(instances, "move", move_slowly)
    failover.node_lost(name="elsewhere")
    assert len(moved) == (1 if returns else 2)
    serving = Instance.objects.filter(state=InstanceState.READY).count()
    assert serving == (1 if returns else 0)


@pytest.fixture
def two_loaded() -> list[Instance]:
    """Two models that serve on the node `elsewhere`."""
    models = [registered_model(name) for name in ("a", "b")]
    return [
        Instance.objects.create(model=model, version=model.version, node="elsewhere", state=InstanceState.READY)
        for model in models
    ]


def test_a_model_that_is_missing_on_the_only_node_is_loaded_again_after_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(failover, "awake", lambda: now[0])
    monkeypatch.setattr(failover, "_missing", failover.Missing())
    model = loaded_model("")
    Node.objects.create(name="local", pid=4, heartbeat_at=Now())
    RegisteredModel.objects.update(wanted=True)
    assert failover.place_missing() == []
    Instance.objects.update(state=InstanceState.STOPPED)
    assert failover.place_missing() == []
    now[0] += failover._SETTLED_SECONDS
    assert failover.place_missing() == [(model.key, "local")]
    assert failover.place_missing() == []
