"""A node has one worker at a time, and one without a heartbeat is reported once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.db.models.functions import Now

from models_app.domain.errors import Conflict
from models_app.engines import identity, process
from models_app.models import Event, Lease, Node
from models_app.services.coordination import leases
from models_app.services.nodes import nodes
from models_app.tasks.nodes import recover_lost
from tests.services.conftest import Watch

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process other than this one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def nobody_waits(seconds: float) -> None:
    raise AssertionError("It must not wait.")


def owned_by(**fields: Any) -> Node:
    return Node.objects.create(**{"name": "local", "generation": 3, "heartbeat_at": Now(), "pid": 4} | fields)


def here(running: subprocess.Popen[bytes]) -> dict[str, Any]:
    return {"hostname": socket.gethostname(), "pid": running.pid, "pid_identity": identity.of(running.pid)}


def test_the_first_worker_takes_its_node_and_tells_what_the_machine_has() -> None:
    owner = nodes.take(wait=nobody_waits)
    assert nodes.heartbeat(owner)
    row = Node.objects.get()
    assert (row.name, row.pid, row.generation) == ("local", os.getpid(), 1)
    assert (row.memory_total_bytes or 0) > (row.memory_free_bytes or 0) > 0
    assert Event.objects.get().name == "node-started"


def test_a_second_worker_of_the_same_name_is_refused(other: subprocess.Popen[bytes]) -> None:
    owned_by(**here(other))
    with pytest.raises(Conflict) as refused:
        nodes.take(wait=nobody_waits)
    assert refused.value.code == "node_in_use"
    assert f"Process {other.pid}" in refused.value.message


def test_a_node_whose_worker_has_died_is_taken_at_once(other: subprocess.Popen[bytes]) -> None:
    row = owned_by(**here(other))
    other.kill()
    other.wait()
    assert nodes.take(wait=nobody_waits).generation == row.generation + 1


def test_a_process_that_only_has_the_same_number_is_not_the_worker(
    other: subprocess.Popen[bytes],
) -> None:
    owned_by(**here(other) | {"pid_identity": f"{other.pid} 1 a-boot"})
    assert nodes.take(wait=nobody_waits).generation == 4


def test_a_worker_stays_the_worker_when_the_clock_is_set(
    other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = process.start_time(other.pid)
    owned_by(**here(other) | {"pid_started_at": started, "heartbeat_at": Now() - timedelta(days=1)})
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 0.0)
    assert process.start_time(other.pid) != started
    with pytest.raises(Conflict):
        nodes.take(wait=nobody_waits)


@pytest.mark.parametrize("known", ["", "1 5 a-boot"])
def test_the_heartbeat_decides_about_a_worker_without_identity(other: subprocess.Popen[bytes], known: str) -> None:
    """One of a version that stored a start in Unix seconds alone; it can have replaced a row with an identity."""
    row = owned_by(**here(other) | {"pid_identity": known})

    def beats(seconds: float) -> None:
        Node.objects.filter(pk=row.pk).update(heartbeat_at=Now() + timedelta(seconds=1))

    with pytest.raises(Conflict):
        nodes.take(wait=beats)
    waits: list[float] = []
    assert nodes.take(wait=waits.append).generation == row.generation + 1
    assert sum(waits) > nodes.LOST_AFTER_SECONDS


def test_a_worker_without_identity_that_has_died_is_replaced_at_once(other: subprocess.Popen[bytes]) -> None:
    row = owned_by(**here(other) | {"pid_identity": ""})
    other.kill()
    other.wait()
    assert nodes.take(wait=nobody_waits).generation == row.generation + 1


def test_a_worker_elsewhere_can_have_the_same_number() -> None:
    """In containers workers often have the same one."""
    row = owned_by(hostname="elsewhere", pid=os.getpid())

    def beats(seconds: float) -> None:
        Node.objects.filter(pk=row.pk).update(heartbeat_at=Now() + timedelta(seconds=1))

    with pytest.raises(Conflict):
        nodes.take(wait=beats)


def test_a_worker_elsewhere_is_believed_as_long_as_its_heart_beats() -> None:
    row = owned_by(hostname="elsewhere")

    def beats(seconds: float) -> None:
        Node.objects.filter(pk=row.pk).update(heartbeat_at=Now() + timedelta(seconds=1))

    with pytest.raises(Conflict):
        nodes.take(wait=beats)


def test_a_worker_elsewhere_that_has_stopped_beating_is_replaced_and_knows_it() -> None:
    row = owned_by(hostname="elsewhere", heartbeat_at=Now() - timedelta(seconds=60))
    former = nodes.Ownership(row.name, row.generation)
    assert nodes.heartbeat(nodes.take(wait=nobody_waits))
    assert not nodes.heartbeat(former)


def test_a_worker_that_leaves_makes_room_at_once() -> None:
    nodes.leave(nodes.take(wait=nobody_waits))
    row = Node.objects.get()
    assert (row.pid, row.heartbeat_at) == (None, None)
    assert nodes.lost() == []


def test_a_node_never_declares_itself_lost(watch: Watch) -> None:
    nodes.take(wait=nobody_waits)
    watch(nodes.LOST_AFTER_SECONDS + 1)
    recover_lost()
    assert Node.objects.get().lost_at is None
    assert not Event.objects.filter(name="node-lost").exists()


def test_a_heartbeat_that_stops_is_noticed_once_and_forgotten_when_it_returns(watch: Watch) -> None:
    owner = nodes.take(wait=nobody_waits)
    assert nodes.lost() == []
    watch(nodes.LOST_AFTER_SECONDS)
    assert nodes.lost() == []
    watch(1.0)
    assert [row.name for row in nodes.lost()] == ["local"]
    assert nodes.lost() == []
    assert Event.objects.filter(name="node-lost").count() == 1
    assert nodes.heartbeat(owner)
    assert Node.objects.get().lost_at is None


def test_a_lease_has_one_holder_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leases.claim(name="work", seconds=60)
    assert leases.claim(name="work", seconds=60)
    with monkeypatch.context() as patched:
        patched.setattr(leases, "holder", lambda: "another")
        assert not leases.claim(name="work", seconds=60)
    assert leases.claim(name="work", seconds=-1)
    monkeypatch.setattr(leases, "holder", lambda: "another")
    assert leases.claim(name="work", seconds=60)


def test_a_lease_from_before_the_clock_was_set_back_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leases.claim(name="work", seconds=60)
    monkeypatch.setattr(leases, "holder", lambda: "another")
    Lease.objects.update(until=Now() + timedelta(seconds=60))
    assert not leases.claim(name="work", seconds=60)
    Lease.objects.update(until=Now() + timedelta(hours=1))
    assert leases.claim(name="work", seconds=60)


def test_a_worker_elsewhere_whose_last_heartbeat_is_in_the_future_is_replaced_after_a_while() -> None:
    row = owned_by(hostname="elsewhere", heartbeat_at=Now() + timedelta(days=1))
    waited: list[float] = []
    assert nodes.take(wait=waited.append).generation == row.generation + 1
    assert sum(waited) > nodes.LOST_AFTER_SECONDS
