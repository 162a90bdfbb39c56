"""Ends runners and checks that their memory is free again: only then can another model use it."""

from __future__ import annotations

import logging
import threading
from time import monotonic

from models_app.domain.events import EventName
from models_app.engines import devices, process
from models_app.models import Instance
from models_app.services.coordination import connections
from models_app.services.events import events
from models_app.services.lifecycle import predictions
from models_app.services.runners import node

logger = logging.getLogger(__name__)

# The kernel frees the memory of a process when it ends; a GPU driver takes longer.
_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.05
# The growth that is stored: a runner that answers grows and shrinks by less.
_GROWTH = 1.02


def end(*, instance: Instance) -> int | None:
    """Stop the runner. Returns the growth of the machine's free memory in bytes; None when it had no process.

    Processes that it had started are killed; where they still hold memory, an event reports it.
    """
    held = devices.held(instance.pid) if instance.pid else None
    if held is None or instance.pid is None:
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        return None
    predictions.record_peak(instance=instance, memory_bytes=held.resident)
    before = devices.memory()[1]
    node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
    left = _wait_until_gone(instance.pid)
    if left:
        _publish_not_freed(instance, left)
    return devices.memory()[1] - before


def record_growth(*, instance: Instance) -> None:
    """Store that a runner holds noticeably more memory than before, for display and for the next prediction."""
    held = devices.held(instance.pid) if instance.pid else None
    if held is not None and held.resident > (instance.memory_bytes or 0) * _GROWTH:
        Instance.objects.filter(pk=instance.pk).update(memory_bytes=held.resident)
        predictions.record_peak(instance=instance, memory_bytes=held.resident)


def _wait_until_gone(session: int) -> int:
    """Kill the processes of this session. Returns the bytes that they still hold after the time-out."""
    deadline = monotonic() + _TIMEOUT_SECONDS
    pause = threading.Event()
    connections.release()
    while True:
        left = process.kill_session(session)
        if not left or monotonic() > deadline:
            return left
        pause.wait(_POLL_SECONDS)


def _publish_not_freed(instance: Instance, left: int) -> None:
    key = instance.model.key
    events.publish(
        name=EventName.MEMORY_NOT_FREED,
        subject=key,
        message=f"{key} was stopped, but its processes still hold {left / 2**20:.0f} MiB.",
        actor="supervisor",
        cause="a process of the runner cannot be ended",
        data={"instance": str(instance.pk), "pid": instance.pid, "bytes": left},
    )
