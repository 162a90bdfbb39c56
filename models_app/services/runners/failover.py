"""Restores the desired state while NOA runs: ends the instances of a lost node, and places models that are missing.

Placing a model writes a recovery for the chosen node: its worker starts what is due, without a broker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from models_app.clocks import awake
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import NoaError
from models_app.domain.events import EventName
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    LIVE_INSTANCE_STATES,
    InstanceState,
    JobState,
)
from models_app.models import Instance, Job, Recovery, RegisteredModel, Route
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.nodes import nodes, placement
from models_app.services.providers import providers
from models_app.services.routes import routing
from models_app.services.runners import instances, recovery

logger = logging.getLogger(__name__)

ACTOR = "watchdog"
# Longer than a start needs from the row of its worker to the jobs of its loads.
_SETTLED_SECONDS = 3.0


def node_lost(*, name: str) -> None:
    """End the instances, recoveries and jobs of a node whose heartbeat stopped; stop when it returns meanwhile."""
    live = Instance.objects.filter(node=name, state__in=LIVE_INSTANCE_STATES, version__isnull=False)
    for instance in live.select_related("model"):
        if not _end(instance, name):
            return
    with transaction.atomic():
        events.take_lock()
        if not nodes.is_still_lost(name=name):
            return
        Recovery.objects.filter(node=name).update(due_at=None, back_at=None, attempt=None)
    for job in Job.objects.filter(node=name, state=JobState.RUNNING):
        jobs.end(
            job_id=str(job.pk),
            state=JobState.FAILED,
            error_code="interrupted",
            error_message=f"The node '{name}' was lost before this job had ended. Submit it again.",
        )


def _end(instance: Instance, name: str) -> bool:
    """End one instance; False when its node has returned: its runner can serve."""
    key, before = instance.model.key, instance.state
    reason = f"The node '{name}' was lost: its worker sends no heartbeat."
    with transaction.atomic():
        events.take_lock()
        if not nodes.is_still_lost(name=name):
            return False
        moved = instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_stage="node",
            failure_reason=reason,
        )
        if not moved:
            return True
        events.publish(
            name=EventName.INSTANCE_FAILED,
            subject=key,
            message=f"{key} stopped serving on '{name}': the node was lost.",
            actor=ACTOR,
            cause="the node was lost",
            before=before,
            after=InstanceState.FAILED,
            data={"instance": str(instance.pk), "node": name},
        )
    return True


@dataclass(slots=True)
class Missing:
    """Which models this process has found missing, and since when.

    A model that an unload, an eviction or a start is about to settle is missing for a moment; one whose instance failed
    is missing for certain.
    """

    since: dict[int, float] = field(default_factory=dict)

    def settled(self, missing: list[RegisteredModel]) -> list[RegisteredModel]:
        """Those of `missing`, all models that are missing now, that are to be placed now."""
        now = awake()
        self.since = {model.pk: self.since.get(model.pk, now) for model in missing}
        return [model for model in missing if now - self.since[model.pk] >= _SETTLED_SECONDS or _has_failed(model)]


_missing = Missing()


def _has_failed(model: RegisteredModel) -> bool:
    newest = Instance.objects.filter(model=model).order_by("-created_at").values_list("state", flat=True).first()
    return newest == InstanceState.FAILED


def place_missing() -> list[tuple[str, str]]:
    """Place missing copies of the desired state; returns pairs of model key and node. Run it in one process at a time.

    It is the last resort for everything that a recovery missed, so a single node needs it too.
    """
    targets = set(Route.objects.values_list("target_id", flat=True))
    wanted = RegisteredModel.objects.filter(wanted=True).select_related("provider", "version")
    local = [model for model in wanted if not providers.is_remote(model.provider)]
    alive = set(placement.up().values_list("name", flat=True)) if local else set()
    missing = [model for model in local if not _is_complete(model, alive)]
    placed = []
    for model in sorted(_missing.settled(missing), key=lambda model: model.pk not in targets):
        placed += [(model.key, name) for name in _place(model, alive)]
    return placed


def _is_complete(model: RegisteredModel, alive: set[str]) -> bool:
    """Whether as many copies as desired serve, are being loaded or recovered, or are being unloaded."""
    return len(_under_way(model, alive)) >= model.replicas or _has_active_load(model)


def _under_way(model: RegisteredModel, alive: set[str]) -> set[str]:
    """The nodes with a copy or with a recovery. Where it was given up, another node is tried meanwhile."""
    live = Instance.objects.filter(model=model, state__in=LIVE_INSTANCE_STATES)
    due = Recovery.objects.filter(model=model, node__in=alive, due_at__isnull=False, given_up_at=None)
    return set(live.values_list("node", flat=True)) | set(due.values_list("node", flat=True))


def _place(model: RegisteredModel, alive: set[str]) -> list[str]:
    """Place one missing copy. Returns the chosen node, or an empty list."""
    # Where it died too often, its own recovery tries it again after a rest.
    given_up = Recovery.objects.filter(model=model, node__in=alive, given_up_at__isnull=False)
    avoid = _under_way(model, alive) | set(given_up.values_list("node", flat=True))
    try:
        name = placement.node_for_load(model=model, options=LoadOptions(), avoid=avoid)
    except NoaError as error:
        logger.debug("no node was found for %s: %s", model.key, error.message)
        return []
    if name in avoid or name not in alive:
        return []
    _schedule(model, name)
    return [name]


def _has_active_load(model: RegisteredModel) -> bool:
    return Job.objects.filter(kind="load", subject=model.key, state__in=ACTIVE_JOB_STATES).exists()


def _schedule(model: RegisteredModel, name: str) -> None:
    now = timezone.now()
    seconds = recovery.load_seconds(model)
    with transaction.atomic():
        # Before the row's lock, as everywhere.
        events.take_lock()
        Recovery.objects.update_or_create(
            model=model,
            node=name,
            defaults={
                "due_at": now,
                "back_at": now + timedelta(seconds=seconds),
                "attempt": None,
                "reason": "It serves on fewer nodes than desired.",
            },
        )
        routing.bump()
    logger.warning("%s is being loaded on '%s'", model.key, name)
