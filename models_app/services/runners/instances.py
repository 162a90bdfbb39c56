"""The only writer of instance states, and of the model status that follows from them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from models_app.clocks import awake
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.states import (
    SERVING_INSTANCE_STATES,
    InstanceState,
    ModelStatus,
    sources_of,
)
from models_app.models import Instance, ModelVersion, RegisteredModel
from models_app.services.coordination import connections
from models_app.services.events import events
from models_app.services.routes import routing

# The fallback below the condition of this process: another process can have moved the instance.
_POLL_SECONDS = 0.25
_moved = threading.Condition()

_STATUS_OF = {
    InstanceState.STARTING: ModelStatus.LOADING,
    InstanceState.READY: ModelStatus.LOADED,
    InstanceState.DRAINING: ModelStatus.UNLOADING,
    InstanceState.STOPPED: ModelStatus.AVAILABLE,
    InstanceState.FAILED: ModelStatus.FAILED,
}


def serving(*, model: RegisteredModel, node: str = "") -> Instance | None:
    """A ready or starting instance of this model, on `node` if it is named; ready ones first."""
    found = list(copies(model=model, node=node))
    ready = [instance for instance in found if instance.state == InstanceState.READY]
    return next(iter(ready or found), None)


def copies(*, model: RegisteredModel, node: str = "") -> QuerySet[Instance]:
    """The instances of this model that are ready or starting, on all nodes or on one, oldest first."""
    found = Instance.objects.filter(model=model, state__in=SERVING_INSTANCE_STATES)
    return (found.filter(node=node) if node else found).order_by("created_at")


def reserve(
    *,
    model: RegisteredModel,
    version: ModelVersion | None,
    node: str,
    options: LoadOptions,
    beside: bool = False,
) -> Instance | None:
    """Claim the right to load this model: a new instance, or None when another job has claimed it.

    With `beside` other nodes can serve the model too: only the right on this node is claimed. An instance that needs
    memory of this node is queued until it is admitted.
    """
    try:
        with transaction.atomic():
            # Of two nodes that start concurrently one waits here, and then finds the other's instance.
            RegisteredModel.objects.select_for_update().filter(pk=model.pk).first()
            if not beside and copies(model=model).exists():
                return None
            instance = Instance.objects.create(
                model=model,
                version=version,
                node=node,
                options=options.as_dict(),
                state=InstanceState.QUEUED if version else InstanceState.STARTING,
            )
            _update_status(instance.model_id, ModelStatus.LOADING)
    except IntegrityError:
        return None
    return instance


@transaction.atomic
def move(*, instance: Instance, to: InstanceState, **fields: Any) -> bool:
    """Compare-and-set of the state; False when the instance was not in a state that leads to `to`.

    Model status and routing revision change in the same transaction.
    """
    # Before the locks of rows, as everywhere: two transactions that take them in opposite order deadlock.
    events.take_lock()
    if to in (InstanceState.STOPPED, InstanceState.FAILED):
        fields["stopped_at"] = timezone.now()
    if to == InstanceState.READY:
        fields["ready_at"] = timezone.now()
    moved = Instance.objects.filter(pk=instance.pk, state__in=sources_of(to)).update(state=to, **fields)
    if moved != 1:
        return False
    instance.state = to
    failure = {name: fields.get(name, "") for name in ("failure_stage", "failure_reason")}
    _update_status(instance.model_id, _STATUS_OF[to], **failure)
    routing.bump()
    transaction.on_commit(_wake)
    return True


@transaction.atomic
def fail_without_instance(*, model: RegisteredModel, stage: str, reason: str) -> bool:
    """Mark a model whose load failed before it had an instance as failed; False if copies of it serve."""
    events.take_lock()
    if copies(model=model).exists():
        return False
    _update_status(model.pk, ModelStatus.FAILED, failure_stage=stage, failure_reason=reason)
    routing.bump()
    return True


def _update_status(model_pk: int, status: ModelStatus, *, failure_stage: str = "", failure_reason: str = "") -> None:
    """Set a model's status to that of its best instance or, where none serves any more, of the one that changed."""
    serving_now = set(
        Instance.objects.filter(model_id=model_pk, state__in=SERVING_INSTANCE_STATES).values_list("state", flat=True)
    )
    if serving_now:
        is_ready = InstanceState.READY in serving_now
        status = ModelStatus.LOADED if is_ready else ModelStatus.LOADING
        failure_stage = failure_reason = ""
    RegisteredModel.objects.filter(pk=model_pk).update(
        status=status,
        failure_stage=failure_stage,
        failure_reason=failure_reason,
        failed_at=timezone.now() if status == ModelStatus.FAILED else None,
        updated_at=timezone.now(),
    )


def _wake() -> None:
    with _moved:
        _moved.notify_all()


def wait_for_change() -> None:
    """Wait until an instance is moved in this process, at most `_POLL_SECONDS`."""
    connections.release()
    with _moved:
        _moved.wait(_POLL_SECONDS)


def wait_until_settled(*, instance_id: uuid.UUID, seconds: float, check: Callable[[], None]) -> Instance:
    """Wait until the instance is no longer starting, at most `seconds`; returns it in its current state.

    `check` is called repeatedly during the wait, and can raise to end it.
    """
    deadline = awake() + seconds
    while True:
        instance = Instance.objects.select_related("model").get(pk=instance_id)
        remaining = deadline - awake()
        starting = instance.state in (InstanceState.QUEUED, InstanceState.STARTING)
        if not starting or remaining <= 0:
            return instance
        check()
        connections.release()
        with _moved:
            _moved.wait(min(remaining, _POLL_SECONDS))
