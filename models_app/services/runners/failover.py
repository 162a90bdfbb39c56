"""Failover from a lost node: ends its instances, and places the models of the desired state on other nodes.

Placing a model writes a recovery for the chosen node: its worker starts what is due, without a broker.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import NoaError
from models_app.domain.events import EventName
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    LIVE_INSTANCE_STATES,
    InstanceState,
    JobState,
)
from models_app.models import Instance, Job, Node, Recovery, RegisteredModel, Route
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.nodes import placement
from models_app.services.providers import providers
from models_app.services.routes import routing
from models_app.services.runners import instances, recovery

logger = logging.getLogger(__name__)

ACTOR = "watchdog"


def node_lost(*, name: str) -> None:
    """End the instances, recoveries and jobs of a node whose heartbeat stopped, until it returns."""
    live = Instance.objects.filter(node=name, state__in=LIVE_INSTANCE_STATES, version__isnull=False)
    for instance in live.select_related("model"):
        _end(instance, name)
    Recovery.objects.filter(node=name).update(due_at=None, back_at=None)
    for job in Job.objects.filter(node=name, state=JobState.RUNNING):
        jobs.end(
            job_id=str(job.pk),
            state=JobState.FAILED,
            error_code="interrupted",
            error_message=f"The node '{name}' was lost before this job had ended. Submit it again.",
        )


def _end(instance: Instance, name: str) -> None:
    key, before = instance.model.key, instance.state
    reason = f"The node '{name}' was lost: its worker sends no heartbeat."
    with transaction.atomic():
        moved = instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_stage="node",
            failure_reason=reason,
        )
        if not moved:
            return
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


def place_missing() -> list[tuple[str, str]]:
    """Place missing copies of the desired state; returns pairs of model key and node.

    A single node recovers its own models; nothing is placed then.
    """
    if Node.objects.count() < 2:
        return []
    placed = []
    targets = set(Route.objects.values_list("target_id", flat=True))
    wanted = RegisteredModel.objects.filter(wanted=True).select_related("provider", "version")
    for model in sorted(wanted, key=lambda model: model.pk not in targets):
        if not providers.is_remote(model.provider):
            placed += [(model.key, name) for name in _place(model)]
    return placed


def _place(model: RegisteredModel) -> list[str]:
    """Place one missing copy. Returns the chosen node, or an empty list."""
    alive = set(placement.up().values_list("name", flat=True))
    under_way = set(instances.copies(model=model).values_list("node", flat=True))
    rows = Recovery.objects.filter(model=model, node__in=alive)
    under_way |= set(rows.filter(due_at__isnull=False).values_list("node", flat=True))
    if len(under_way) >= model.replicas or _has_active_load(model):
        return []
    # Nodes where it died too often, or could not be loaded, are not tried again.
    avoid = under_way | set(rows.filter(given_up_at__isnull=False).values_list("node", flat=True))
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
        Recovery.objects.update_or_create(
            model=model,
            node=name,
            defaults={
                "due_at": now,
                "back_at": now + timedelta(seconds=seconds),
                "reason": "It serves on fewer nodes than desired.",
            },
        )
        routing.bump()
    logger.warning("%s is being loaded on '%s'", model.key, name)
