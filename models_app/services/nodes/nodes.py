"""Node leases: the worker that owns each node, and whether its heartbeat is current.

A node's row is the lease of its worker. Taking it increments the generation; a worker that finds another generation in
its row has lost the node, and ends its runners. Other processes judge a heartbeat by what they have seen of it
(`observing`).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from models_app.clocks import awake
from models_app.domain.errors import Conflict
from models_app.domain.events import EventName
from models_app.engines import devices, identity, process
from models_app.models import Node, RegisteredModel
from models_app.services.events import events
from models_app.services.nodes.observing import Mark, observer

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
# A worker without a heartbeat for this long counts as lost: five intervals, more than a busy machine delays one.
LOST_AFTER_SECONDS = 10.0
# The interval of checks of a node's model files: the longest time until a new one counts.
_FILES_SECONDS = 60.0


@dataclass(slots=True)
class Ownership:
    """This process's lease of its node."""

    name: str
    generation: int
    files_seen_at: float | None = None


def take(*, wait: Callable[[float], object]) -> Ownership:
    """Become the owner of the node NOA_NODE. `wait` sleeps for the given seconds.

    Raises Conflict `node_in_use` while another worker of that name is alive.
    """
    name = settings.NOA_NODE
    first = _row(name)
    waited = 0.0
    while True:
        row = _row(name)
        # Without a new heartbeat for so long it is free, even if the database's clock was set back meanwhile.
        owner = _take_over(row) if _is_free(row) or waited > LOST_AFTER_SECONDS + HEARTBEAT_SECONDS else None
        if owner is not None:
            return owner
        # Where the process cannot be checked, the worker is alive if its heartbeat changes.
        is_alive = row.heartbeat_at != first.heartbeat_at or row.generation != first.generation
        if is_alive or _is_here(row):
            raise _in_use(row)
        wait(HEARTBEAT_SECONDS / 2)
        waited += HEARTBEAT_SECONDS / 2


def heartbeat(owner: Ownership) -> bool:
    """Renew the lease and report the machine's resources; False when another worker owns the node now."""
    total, free = devices.memory()
    fields: dict[str, Any] = {
        "memory_total_bytes": total,
        "memory_free_bytes": free,
        "gpus": devices.gpus(),
        "memory_budget_bytes": settings.NOA_MEMORY_BUDGET,
    }
    if owner.files_seen_at is None or awake() - owner.files_seen_at > _FILES_SECONDS:
        owner.files_seen_at = awake()
        fields["models"] = _seen_models()
    return _lease(owner).update(heartbeat_at=Now(), lost_at=None, **fields) == 1


def leave(owner: Ownership) -> None:
    """Release the lease on a clean shutdown, so that the next worker need not wait."""
    _lease(owner).update(pid=None, pid_identity="", pid_started_at=None, heartbeat_at=None)


def lost(*, besides: str = "") -> list[Node]:
    """The nodes whose heartbeat has stopped, each returned once: the caller recovers what it served.

    Only a silence that this process has observed from its beginning counts: see `observing`. `besides` is the caller's
    own node, which is never lost: after its process was suspended, its heartbeat is late.
    """
    silent = {name: one.mark for name, one in observer.look().items() if one.observed > LOST_AFTER_SECONDS}
    rows = Node.objects.filter(name__in=silent, lost_at=None).exclude(name=besides)
    return [row for row in rows if _mark_lost(row, silent[row.name])]


def is_still_lost(*, name: str) -> bool:
    """Whether no heartbeat has arrived since the node was found to be lost. Call in the transaction that depends on
    it: until that ends, a heartbeat waits."""
    row = Node.objects.select_for_update().filter(name=name).first()
    return row is None or row.lost_at is not None


def stale(*, after: float = LOST_AFTER_SECONDS) -> dict[str, float]:
    """Seconds since the last heartbeat, by name, of nodes whose lease is held but whose heartbeat stopped."""
    return {name: one.seconds for name, one in observer.recent().items() if one.seconds > after}


def _mark_lost(row: Node, mark: Mark) -> bool:
    with transaction.atomic():
        # Read again, and locked: a heartbeat can have arrived meanwhile.
        events.take_lock()
        now = Node.objects.select_for_update().filter(pk=row.pk, lost_at=None).first()
        marked = now is not None and (now.generation, now.heartbeat_at) == mark
        if marked:
            Node.objects.filter(pk=row.pk).update(lost_at=Now())
            events.publish(
                name=EventName.NODE_LOST,
                subject=row.name,
                message=f"The worker of node '{row.name}' has sent no heartbeat for {LOST_AFTER_SECONDS:g} seconds.",
                actor="watchdog",
                cause="no heartbeat",
                data={"pid": row.pid, "hostname": row.hostname, "generation": row.generation},
            )
    return marked


def _row(name: str) -> Node:
    try:
        with transaction.atomic():
            return Node.objects.get_or_create(name=name)[0]
    except IntegrityError:
        return Node.objects.get(name=name)


def _is_here(row: Node) -> bool | None:
    """Whether the worker of this row is another living process of this machine; None where only its heartbeat shows it.

    That is so for another machine, and for a worker of a version up to 0.1, which stored no identity.
    """
    if row.pid is None:
        return False
    if row.hostname != socket.gethostname():
        return None
    if row.pid == os.getpid():
        return False
    if identity.is_of(row.pid_identity, row.pid):
        return identity.is_running(row.pid_identity)
    return None if identity.of(row.pid) else False


def _is_free(row: Node) -> bool:
    is_here = _is_here(row)
    if is_here is not None:
        return not is_here
    # A process that starts has observed nothing yet: the database's clock shows what was silent long before.
    lapsed = Now() - timedelta(seconds=LOST_AFTER_SECONDS)
    return Node.objects.filter(pk=row.pk, heartbeat_at__lt=lapsed).exists()


def _take_over(row: Node) -> Ownership | None:
    """Take the lease; returns None when another worker was faster."""
    known, started = identity.of(os.getpid()) or "", process.start_time(os.getpid())
    with transaction.atomic():
        taken = Node.objects.filter(pk=row.pk, generation=row.generation).update(
            generation=row.generation + 1,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            pid_identity=known,
            pid_started_at=started,
            started_at=Now(),
            heartbeat_at=Now(),
            lost_at=None,
            version=version("noa-server"),
            address=settings.NOA_NODE_ADDRESS,
        )
        if not taken:
            return None
        events.publish(
            name=EventName.NODE_STARTED,
            subject=row.name,
            message=f"The worker of node '{row.name}' has started.",
            actor="worker",
            cause="a worker started",
            data={"pid": os.getpid(), "hostname": socket.gethostname()},
        )
    return Ownership(row.name, row.generation + 1)


def _lease(owner: Ownership) -> QuerySet[Node]:
    return Node.objects.filter(name=owner.name, generation=owner.generation)


def _in_use(row: Node) -> Conflict:
    return Conflict(
        f"Process {row.pid} on '{row.hostname}' already is the worker of node '{row.name}'. "
        "Stop it, or give this one another name with NOA_NODE.",
        code="node_in_use",
    )


def _seen_models() -> list[str]:
    found = RegisteredModel.objects.filter(version__isnull=False).order_by("key")
    return [key for key, path in found.values_list("key", "version__path") if Path(path).is_file()]
