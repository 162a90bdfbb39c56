"""Unload models: no new requests, those in flight end, then the runner stops."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction

from models_app.domain.errors import Conflict, RunnerDied
from models_app.domain.events import EventName
from models_app.domain.states import InstanceState, ModelStatus
from models_app.engines import control
from models_app.models import Instance, RegisteredModel
from models_app.services import events, instances, node, registry
from models_app.services.jobs import Run

logger = logging.getLogger(__name__)


def unload(*, run: Run, key: str) -> None:
    """Drain and stop a model's instance. Clears the desired state.

    Raises Conflict when the model is not loaded or is only being loaded.
    """
    model = registry.get(key=key)
    instance = loaded_instance(model=model)
    run.no_return()
    RegisteredModel.objects.filter(pk=model.pk).update(wanted=False)
    retire(run=run, instance=instance)
    run.result |= {"key": model.key}


def loaded_instance(*, model: RegisteredModel) -> Instance:
    """The ready instance; raises Conflict when there is none."""
    instance = instances.serving(model=model)
    if instance is None:
        raise Conflict(
            f"'{model.key}' is not loaded, so there is nothing to unload.", code="model_not_loaded"
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
        if instances.move(instance=instance, to=InstanceState.DRAINING):
            _end(run, instance, because)
        # Else it stopped or failed by itself meanwhile.


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
