"""Unload models: no new requests, those in flight end, then the runner stops."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction

from models_app.domain.errors import Conflict, RunnerDied
from models_app.domain.events import EventName
from models_app.domain.states import TERMINAL_JOB_STATES, InstanceState, JobKind, ModelStatus
from models_app.engines import control
from models_app.models import Instance, RegisteredModel
from models_app.services import events, instances, jobs, node, registry
from models_app.services.jobs import Run

logger = logging.getLogger(__name__)

# What the worker of another node gets to begin, and to stop the runner.
_PATIENCE = 15.0


def unload(*, run: Run, key: str) -> None:
    """Drain and stop a model's instances, or with a job that names a node only the one there. Clears the desired state.

    Raises Conflict when the model is not loaded or is only being loaded.
    """
    model, node_name = registry.get(key=key), run.job.asked_node
    loaded_instance(model=model, node=node_name)
    found = instances.copies(model=model, node=node_name).filter(state=InstanceState.READY)
    copies = list(found.select_related("model"))
    run.no_return()
    _want_less(model, node_name)
    for instance in copies:
        retire(run=run, instance=instance)
    run.result |= {"key": model.key}


def _want_less(model: RegisteredModel, node_name: str) -> None:
    """One copy less where a node was named and others remain; none otherwise."""
    row = RegisteredModel.objects.filter(pk=model.pk)
    others = instances.copies(model=model).exclude(node=node_name) if node_name else None
    if others is not None and others.exists():
        row.update(replicas=others.count())
    else:
        row.update(wanted=False, replicas=1)


def loaded_instance(*, model: RegisteredModel, node: str = "") -> Instance:
    """A ready instance, on this node where one is named; raises Conflict when there is none."""
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
    """Take an instance out of service: no new requests, let those in flight end, stop the runner.

    A cancel does not interrupt it. `because` completes the sentence "… was unloaded" of the event.
    """
    # Half of it would leave an instance that neither serves nor ends.
    with run.shielded():
        if instance.version_id is not None and instance.node != settings.NOA_NODE:
            _let_owner_end(run, instance)
        elif instances.move(instance=instance, to=InstanceState.DRAINING):
            _end(run, instance, because)
        # Else it stopped or failed by itself meanwhile.


def _let_owner_end(run: Run, instance: Instance) -> None:
    """Only its own node can end a runner. A node that is down has its instances ended when it is found to be lost."""
    key, name = instance.model.key, instance.node
    with run.step("unload", f"{key} on '{name}'"):
        job, _ = jobs.create(
            kind=JobKind.UNLOAD, subject=key, arguments={}, actor=run.actor, asked_node=name
        )
        ended = jobs.wait(job_id=job.pk, seconds=settings.NOA_DRAIN_TIMEOUT + _PATIENCE)
        if ended.state not in TERMINAL_JOB_STATES:
            logger.warning("%s: the node '%s' has not ended it yet", key, name)


def _end(run: Run, instance: Instance, because: str) -> None:
    key = instance.model.key
    with run.step("drain", f"{key}: waiting for requests in flight to end."):
        cut = _drain(instance)
    with run.step("stop", key):
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        with transaction.atomic():
            instances.move(instance=instance, to=InstanceState.STOPPED)
            _say_unloaded(run, instance, because, cut)


def _say_unloaded(run: Run, instance: Instance, because: str, cut: int | None) -> None:
    key = instance.model.key
    events.publish(
        name=EventName.MODEL_UNLOADED,
        subject=key,
        message=f"{key} was unloaded{because}" + (f"; {cut} requests were cut." if cut else "."),
        actor=run.actor,
        cause=because.lstrip(" ,")[:255] or run.cause,
        before=ModelStatus.LOADED,
        after=ModelStatus.AVAILABLE,
        job_id=run.job.pk,
        data={"instance": str(instance.pk), "cut_requests": cut},
    )


def _drain(instance: Instance) -> int | None:
    """Requests that are still in flight at the deadline; None when the runner does not say."""
    if node.supervisor().get(str(instance.pk)) is None:
        return 0
    try:
        return control.drain(instance.socket, wait=settings.NOA_DRAIN_TIMEOUT)
    except RunnerDied:
        # It is stopped next in any case, and that is what was asked for.
        logger.warning("%s did not answer while it drained", instance, exc_info=True)
        return None
