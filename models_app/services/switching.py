"""Hot swap: move a route from one model to another without a failed request."""

from __future__ import annotations

from django.db import transaction

from models_app.domain.errors import Cancelled, Conflict, Interrupted, NoaError
from models_app.domain.events import EventName
from models_app.domain.routing import CURRENT_ROUTE
from models_app.domain.states import InstanceState
from models_app.models import Instance, RegisteredModel, Route
from models_app.services import events, instances, loading, registry, routing, unloading
from models_app.services.jobs import Run
from models_app.services.loading import Loaded


def switch(
    *, run: Run, key: str, route_name: str = CURRENT_ROUTE, keep_previous: bool = False
) -> None:
    """Start the new model beside the old, warm it, move the route in one transaction, drain the old.

    A failure or a cancel before the move leaves the route as it was. The old model stays loaded when `keep_previous` is true or
    another route leads to it.
    """
    model = registry.get(key=key)
    route = routing.get(name=route_name)
    check_possible(model=model, route=route)
    try:
        loaded = loading.bring_up(run=run, key=key, options={})
        previous = _move(run, loaded, model, route)
    except (Cancelled, Interrupted):
        raise
    except NoaError as error:
        _say_failed(run, model, route, error)
        raise
    run.result |= {"route": route.name, "previous": previous or None, "current": model.key}
    if previous and previous != model.key and not keep_previous:
        _retire_previous(run, previous, f" after '{route.name}' had moved to {model.key}")


def _move(run: Run, loaded: Loaded, model: RegisteredModel, route: Route) -> str:
    """The key that the route led to before."""
    try:
        with run.step("move", f"'{route.name}' to {model.key}"), transaction.atomic():
            run.no_return()
            loading.want(loaded=loaded)
            return routing.repoint(route=route, model=model, actor=run.actor, job_id=run.job.pk)
    except NoaError:
        loading.take_back(run=run, loaded=loaded)
        raise


def check_possible(*, model: RegisteredModel, route: Route) -> None:
    """Raises Conflict when the route leads to this model already and the model answers."""
    if route.target_id != model.pk:
        return
    instance = instances.serving(model=model)
    if instance is not None and instance.state == InstanceState.READY:
        raise Conflict(
            f"'{route.name}' leads to '{model.key}' already and it is loaded; nothing was changed.",
            code="already_current",
        )


def _say_failed(run: Run, model: RegisteredModel, route: Route, error: NoaError) -> None:
    keeps = route.target.key if route.target else "nothing"
    events.publish(
        name=EventName.SWITCH_FAILED,
        subject=model.key,
        message=f"'{route.name}' was not moved to {model.key}; it still leads to {keeps}.",
        actor=run.actor,
        cause=error.message[:255],
        job_id=run.job.pk,
        data={"route": route.name, "code": error.code, "reason": error.message},
    )
    error.message = f"{error.message} '{route.name}' still leads to {keeps}."


def _retire_previous(run: Run, key: str, because: str) -> None:
    """Drain what the route led to, unless another route still needs it."""
    previous = RegisteredModel.objects.filter(key=key).first()
    if previous is None or Route.objects.filter(target=previous).exists():
        return
    RegisteredModel.objects.filter(pk=previous.pk).update(wanted=False, replicas=1)
    old = Instance.objects.select_related("model").filter(model=previous, state=InstanceState.READY)
    for instance in old:
        unloading.retire(run=run, instance=instance, because=because)
