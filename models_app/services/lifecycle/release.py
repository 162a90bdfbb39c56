"""Ends runners and sees that their memory is free again: only then may another model count on it."""

from __future__ import annotations

import logging
import threading
from time import monotonic

from models_app.domain.events import EventName
from models_app.engines import devices, process
from models_app.models import Instance
from models_app.services.events import events
from models_app.services.lifecycle import predictions
from models_app.services.runners import node

logger = logging.getLogger(__name__)

# The kernel frees the memory of a process when it ends; a driver's takes longer.
_SECONDS = 5.0
_LOOK_EVERY = 0.05
# What is worth a write: a runner that answers grows and shrinks by less.
_GROWTH = 1.02


def end(*, instance: Instance) -> int | None:
    """Stop the runner. Returns by how many bytes the free memory of the machine grew; None when it was not there.

    What is left of it, such as a process that it had started, is killed; if that holds on to its memory, an event says so.
    """
    held = devices.held(instance.pid) if instance.pid else None
    if held is None or instance.pid is None:
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        return None
    predictions.note_peak_of(instance=instance, memory_bytes=held.resident)
    before = devices.memory()[1]
    node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
    left = _wait_until_gone(instance.pid)
    if left:
        _tell(instance, left)
    return devices.memory()[1] - before


def note_growth(*, instance: Instance) -> None:
    """A runner that holds noticeably more than it did: so it is shown, and so the next load of its kind is predicted."""
    held = devices.held(instance.pid) if instance.pid else None
    if held is not None and held.resident > (instance.memory_bytes or 0) * _GROWTH:
        Instance.objects.filter(pk=instance.pk).update(memory_bytes=held.resident)
        predictions.note_peak_of(instance=instance, memory_bytes=held.resident)


def _wait_until_gone(session: int) -> int:
    """Bytes that processes of this session still hold when the time is over; they are killed at once."""
    deadline = monotonic() + _SECONDS
    pause = threading.Event()
    while True:
        left = process.kill_session(session)
        if not left or monotonic() > deadline:
            return left
        pause.wait(_LOOK_EVERY)


def _tell(instance: Instance, left: int) -> None:
    key = instance.model.key
    events.publish(
        name=EventName.MEMORY_NOT_FREED,
        subject=key,
        message=f"{key} was stopped, but {left / 2**20:.0f} MiB that its processes hold did not come back.",
        actor="supervisor",
        cause="a process of the runner cannot be ended",
        data={"instance": str(instance.pk), "pid": instance.pid, "bytes": left},
    )
