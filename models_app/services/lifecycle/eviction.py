"""Unloads models by policy: to make room for others, and after their idle time-out.

Requests in flight are never cut. The runner checks that it is idle and stops accepting requests in one step: none can
arrive in between.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from models_app.domain.errors import RunnerDied, Unavailable
from models_app.domain.residency import admission
from models_app.domain.residency.admission import LoadRequest, Resident
from models_app.domain.residency.ledger import LedgerCause, LedgerKind, Origin
from models_app.domain.states import InstanceState
from models_app.engines import control
from models_app.models import Instance
from models_app.services.coordination import connections
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import release, unloading
from models_app.services.lifecycle.unloading import Why
from models_app.services.runners import instances, node

logger = logging.getLogger(__name__)

# The interval of searches for unused models: the resolution of an idle time-out.
INTERVAL_SECONDS = 2.0
# The time that one call waits for requests to finish; it is repeated until they have.
_DRAIN_SECONDS = 60.0
# The last use is stored when it is newer by this much: the console shows minutes, and each write wakes readers.
_USE_SECONDS = 5.0
_ACTOR = "policy"

Candidates = tuple[admission.Candidate, ...]


def evict(*, run: Run, resident: Resident, request: LoadRequest, candidates: Candidates) -> bool:
    """Unload a model if it has no request in flight; False when it has one, or is no longer ready."""
    instance = _ready(resident.instance_id)
    if instance is None or not _stop_if_idle(instance):
        return False
    if not instances.move(instance=instance, to=InstanceState.DRAINING):
        return False
    unloading.finish(instance=instance, why=_why(run, resident, request, candidates))
    return True


def drain(*, run: Run, resident: Resident, request: LoadRequest, candidates: Candidates) -> None:
    """Stop new requests to a busy model; once those in flight have finished it is unloaded.

    Returns at once: a separate thread waits for them.
    """
    instance = _ready(resident.instance_id)
    if instance is None or not instances.move(instance=instance, to=InstanceState.DRAINING):
        return
    why = _why(run, resident, request, candidates)
    threading.Thread(target=_finish_when_idle, args=(instance, why), name=f"drain-{resident.key}", daemon=True).start()


def unload_idle() -> None:
    """Store when models were last used, and unload those idle for longer than their time-out."""
    rows = Instance.objects.filter(node=settings.NOA_NODE, state=InstanceState.READY, version__isnull=False)
    for instance in rows.select_related("model", "version"):
        idle = _idle_seconds(instance)
        if idle is None:
            continue
        _store_use(instance, idle)
        release.record_growth(instance=instance)
        allowed = idle_ttl(instance)
        if allowed and idle >= allowed and not instance.model.pinned and _stop_if_idle(instance):
            _unload_unused(instance, idle)


def idle_ttl(instance: Instance) -> float:
    """The instance's idle time-out in seconds; 0 means never."""
    own = instance.model.idle_ttl_seconds
    return settings.NOA_IDLE_TTL if own is None else float(own)


def _unload_unused(instance: Instance, idle: float) -> None:
    if instances.move(instance=instance, to=InstanceState.DRAINING):
        reason = f"had not been used for {idle:.0f} s (its idle time-out)"
        why = Why(LedgerKind.UNLOAD, Origin(LedgerCause.POLICY, _ACTOR), f", as it {reason}")
        unloading.finish(instance=instance, why=why)


def _ready(instance_id: str) -> Instance | None:
    rows = Instance.objects.select_related("model", "version")
    return rows.filter(pk=instance_id, state=InstanceState.READY).first()


def _stop_if_idle(instance: Instance) -> bool:
    """Returns True if the runner was idle; it accepts no more requests then."""
    try:
        return control.drain_if_idle(instance.socket)
    except RunnerDied:
        logger.warning("%s did not report whether it is idle", instance, exc_info=True)
        return False


def _idle_seconds(instance: Instance) -> float | None:
    """Seconds without a request, as the runner reports; None when it does not answer."""
    try:
        connections.release()
        return control.health(instance.socket).get("idle_seconds")
    except RunnerDied:
        return None


def _store_use(instance: Instance, idle: float) -> None:
    now = timezone.now()
    used = now - timedelta(seconds=idle)
    before = instance.last_used_at or instance.ready_at
    # What lies in the future was stored before the clock was set back.
    if before is None or before > now or (used - before).total_seconds() > _USE_SECONDS:
        Instance.objects.filter(pk=instance.pk).update(last_used_at=used)


def _why(run: Run, resident: Resident, request: LoadRequest, candidates: Candidates) -> Why:
    return Why(
        LedgerKind.EVICTION,
        # The policy causes an eviction, whatever the cause of the load that needs the memory.
        replace(run.origin, cause=LedgerCause.POLICY),
        f" to make room for {request.key}",
        candidates=[candidate.as_dict() for candidate in candidates],
        data=_numbers(resident, request),
    )


def _numbers(resident: Resident, request: LoadRequest) -> dict[str, Any]:
    return {
        "for": request.key,
        "needed_bytes": request.need.ram,
        "freed_bytes": resident.memory.ram,
        "idle_seconds": round(resident.idle_seconds, 1),
    }


def _finish_when_idle(instance: Instance, why: Why) -> None:
    try:
        _wait_until_idle(instance)
        unloading.finish(instance=instance, why=why)
    except Unavailable:
        logger.info("the node stopped while %s was drained", instance)
    finally:
        connection.close()


def _wait_until_idle(instance: Instance) -> None:
    while node.supervisor().get(str(instance.pk)) is not None:
        try:
            connections.release()
            if control.drain(instance.socket, wait=_DRAIN_SECONDS) == 0:
                return
        except RunnerDied:
            logger.warning("%s did not answer while it drained", instance, exc_info=True)
            return
