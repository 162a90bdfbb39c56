"""The numbers behind the API and the console."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from models_app.domain.errors import RunnerDied
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState
from models_app.engines import control
from models_app.models import Instance

_ASK_AT_ONCE = 16
# Shorter than what a page may take: a healthy runner answers in milliseconds.
_HEALTH_SECONDS = 1.0


def loaded() -> list[Instance]:
    """Live instances, each with `in_flight` and `memory_bytes` as its runner tells them now.

    `in_flight` is None where the runner does not answer or cannot be reached from this process.
    """
    found = list(
        Instance.objects.filter(state__in=LIVE_INSTANCE_STATES).select_related("model", "version")
    )
    if found:
        # At once: a runner that hangs must not make the others wait for its time-out.
        with ThreadPoolExecutor(min(len(found), _ASK_AT_ONCE)) as pool:
            list(pool.map(_measure, found))
    return found


def _measure(instance: Instance) -> None:
    in_flight: int | None = None
    if instance.state in (InstanceState.READY, InstanceState.DRAINING) and instance.socket:
        try:
            health = control.health(instance.socket, timeout=_HEALTH_SECONDS)
            in_flight = health["in_flight"]
            instance.memory_bytes = health["memory"]["rss_bytes"]
        except RunnerDied:
            in_flight = None
    instance.in_flight = in_flight  # type: ignore[attr-defined]
