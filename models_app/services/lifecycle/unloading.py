"""Unloads models: refuses new requests, waits for those in flight, then stops the runner and frees its memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction

from models_app.domain.errors import Conflict, RunnerDied
from models_app.domain.events import EventName
from models_app.domain.residency.ledger import (
    FactEvent,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
)
from models_app.domain.states import TERMINAL_JOB_STATES, InstanceState, JobKind, ModelStatus
from models_app.engines import control
from models_app.models import Instance, RegisteredModel
from models_app.services.catalog import ledger, lookup
from models_app.services.coordination import connections
from models_app.services.jobs import jobs, waiting
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import consequences, release
from models_app.services.runners import instances, node

logger = logging.getLogger(__name__)

# The time for the worker of another node to start the job and stop the runner, beyond the drain itself.
_OTHER_NODE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Why:
    """Why an instance ends. `because` completes the sentence "… was unloaded"."""

    kind: LedgerKind
    origin: Origin
    because: str = ""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


def unload(*, run: Run, key: str) -> None:
    """Drain and stop a model's instances, or only the one on the job's node where it names one. Clears the desired
    state.

    Raises Conflict when the model is not loaded or is only being loaded.
    """
    model, node_name = lookup.get(key=key), run.job.asked_node
    loaded_instance(model=model, node=node_name)
    found = instances.copies(model=model, node=node_name).filter(state=InstanceState.READY)
    copies = list(found.select_related("model"))
    run.commit_point()
    _lower_desired(model, node_name)
    for instance in copies:
        retire(run=run, instance=instance)
    run.result |= {"key": model.key}
    if not instances.copies(model=model).exists():
        run.result |= consequences.of_unload(model=model).as_dict()


def _lower_desired(model: RegisteredModel, node_name: str) -> None:
    """Lower the desired copies to those on other nodes where a node was named; to none otherwise."""
    row = RegisteredModel.objects.filter(pk=model.pk)
    others = instances.copies(model=model).exclude(node=node_name) if node_name else None
    if others is not None and others.exists():
        row.update(replicas=others.count())
    else:
        row.update(wanted=False, replicas=1)


def loaded_instance(*, model: RegisteredModel, node: str = "") -> Instance:
    """A ready instance, on `node` if it is named; raises Conflict when there is none."""
    instance = instances.serving(model=model, node=node)
    where = f" on '{node}'" if node else ""
    if instance is None:
        raise Conflict(
            f"'{model.key}' is not loaded{where}, so there is nothing to unload.",
            code="model_not_loaded",
        )
    if instance.state != InstanceState.READY:
        raise Conflict(
            f"'{model.key}' is still being loaded; unload it when that has ended.",
            code="model_is_loading",
        )
    return instance


def retire(*, run: Run, instance: Instance, because: str = "") -> None:
    """Take an instance out of service: refuse new requests, let those in flight finish, stop the runner.

    A cancel does not interrupt it. `because` completes the sentence "… was unloaded" of the event.
    """
    # An interrupted drain would leave an instance that neither serves nor ends.
    with run.shielded():
        if instance.version_id is not None and instance.node != settings.NOA_NODE:
            _let_owner_end(run, instance)
        elif instances.move(instance=instance, to=InstanceState.DRAINING):
            _end(run, instance, because)
        # Otherwise it stopped or failed by itself meanwhile.


def _let_owner_end(run: Run, instance: Instance) -> None:
    """Have the runner's node end it. The instances of a node that is down end once it counts as lost."""
    key, name = instance.model.key, instance.node
    with run.step("unload", f"{key} on '{name}'"):
        job, _ = jobs.create(kind=JobKind.UNLOAD, subject=key, arguments={}, actor=run.actor, asked_node=name)
        ended = waiting.wait(job_id=job.pk, seconds=settings.NOA_DRAIN_TIMEOUT + _OTHER_NODE_SECONDS)
        if ended.state not in TERMINAL_JOB_STATES:
            logger.warning("%s: the node '%s' has not ended it yet", key, name)


def _end(run: Run, instance: Instance, because: str) -> None:
    key = instance.model.key
    why = Why(LedgerKind.UNLOAD, run.origin, because)
    with run.step("drain", f"{key}: waiting for requests in flight to finish."):
        cut = _drain(instance)
    with run.step("stop", key):
        finish(instance=instance, why=why, cut=cut, event_cause=run.cause)


def finish(*, instance: Instance, why: Why, cut: int | None = 0, event_cause: str = "policy") -> None:
    """Stop the runner of an instance that drains, check that its memory is free, and record why.

    `cut` is the number of requests still in flight; None when unknown. An unload by policy clears the desired state
    too: a restart must not load the model again.
    """
    freed = release.end(instance=instance)
    with transaction.atomic():
        if why.origin.cause == LedgerCause.POLICY:
            _lower_desired(instance.model, instance.node)
        instances.move(instance=instance, to=InstanceState.STOPPED)
        reason = why.because.lstrip(" ,")
        fact = LifecycleFact(
            why.kind,
            instance.model.key,
            LedgerOutcome.DONE,
            why.origin,
            reason=reason,
            candidates=why.candidates,
            data=why.data | {"cut_requests": cut, "memory_came_back_bytes": freed},
            event=_event(instance, why, cut, reason[:255] or event_cause),
        )
        ledger.record(fact, instance=instance)


def _event(instance: Instance, why: Why, cut: int | None, cause: str) -> FactEvent:
    return FactEvent(
        EventName.MODEL_EVICTED if why.kind == LedgerKind.EVICTION else EventName.MODEL_UNLOADED,
        f"{instance.model.key} was unloaded{why.because}" + (f"; {cut} requests were cut." if cut else "."),
        cause=cause,
        before=ModelStatus.LOADED,
        after=ModelStatus.AVAILABLE,
        data={"instance": str(instance.pk), "cut_requests": cut} | why.data,
    )


def _drain(instance: Instance) -> int | None:
    """Returns the number of requests in flight at the deadline; None when the runner does not answer."""
    if node.supervisor().get(str(instance.pk)) is None:
        return 0
    try:
        connections.release()
        return control.drain(instance.socket, wait=settings.NOA_DRAIN_TIMEOUT)
    except RunnerDied:
        # The runner is stopped next in any case.
        logger.warning("%s did not answer while it drained", instance, exc_info=True)
        return None
