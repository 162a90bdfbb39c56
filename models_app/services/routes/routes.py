"""Creates, changes and deletes routes. `switching` moves their targets."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.keys import checked_route_name
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import Job, Route, RouteChange
from models_app.services.catalog import lookup
from models_app.services.events import events
from models_app.services.routes import routing

# Each fallback that cannot answer costs the waiting client an attempt; more would not make a route more available.
MAX_FALLBACKS = 8


def create(
    *,
    name: str,
    target: str | None = None,
    fallbacks: Sequence[str] = (),
    description: str = "",
    load_on_demand: bool = True,
    may_evict: bool = True,
    actor: str,
    cause: str = "requested",
) -> Route:
    """A new route. Raises Conflict when the name is taken or the target is not loaded, ModelNotFound."""
    checked_route_name(name)
    model = lookup.get(key=target) if target is not None else None
    keys = _checked_fallbacks(fallbacks)
    try:
        with transaction.atomic():
            route = Route.objects.create(
                name=name,
                fallbacks=keys,
                description=description,
                load_on_demand=load_on_demand,
                may_evict=may_evict,
            )
            routing.bump()
            message = f"The route '{name}' was created."
            _publish_changed(route, before=None, actor=actor, cause=cause, message=message)
            if model is not None:
                routing.repoint(route=route, model=model, actor=actor, cause=cause)
    except IntegrityError:
        raise Conflict(
            f"The route '{name}' already exists. Move it with 'models/switch', or choose another name.",
            code="route_exists",
            param="name",
        ) from None
    return routing.get(name=name)


@transaction.atomic
def change(*, name: str, changes: Mapping[str, Any], actor: str, cause: str = "requested") -> Route:
    """Change the properties of a route, but not its target. Raises NotFound, ModelNotFound or InvalidRequest."""
    checked = dict(changes)
    if "fallbacks" in checked:
        checked["fallbacks"] = _checked_fallbacks(checked["fallbacks"])
    routing.bump()
    route = routing.get(name=name)
    before = represent(route)
    for field, value in checked.items():
        setattr(route, field, value)
    route.save(update_fields=[*checked, "updated_at"])
    message = f"The route '{name}' was changed."
    _publish_changed(route, before=before, actor=actor, cause=cause, message=message)
    return route


@transaction.atomic
def delete(*, name: str, actor: str) -> None:
    """Delete a route, so that its requests are refused. Its target stays loaded."""
    if name == CURRENT_ROUTE:
        raise Conflict(
            f"'{CURRENT_ROUTE}' always exists and cannot be deleted. Switch it to another model instead.",
            code="route_is_permanent",
        )
    routing.bump()
    route = routing.get(name=name)
    moving = Job.objects.filter(kind=JobKind.SWITCH, subject=name, state__in=ACTIVE_JOB_STATES).first()
    if moving is not None:
        raise Conflict(
            f"Job {moving.pk} is moving '{name}'. Cancel it or wait for its end, then delete the route.",
            code="job_in_progress",
            details={"job": str(moving.pk)},
        )
    before = represent(route)
    route.delete()
    events.publish(
        name=EventName.ROUTE_DELETED,
        subject=name,
        message=f"The route '{name}' was deleted.",
        actor=actor,
        cause="requested",
        before=before,
    )


def previous_key(*, route: Route) -> str:
    """The key of the route's previous model; raises Conflict when there is none."""
    present = route.target.key if route.target else ""
    moves = RouteChange.objects.filter(route=route).exclude(previous_key__in=["", present])
    last = moves.first()
    if last is None:
        raise Conflict(
            f"'{route.name}' has led to no other model yet, so there is nothing to roll back to.",
            code="nothing_to_roll_back",
        )
    return last.previous_key


def _checked_fallbacks(keys: Sequence[str]) -> list[str]:
    if len(keys) > MAX_FALLBACKS:
        raise InvalidRequest(f"A route can have at most {MAX_FALLBACKS} fallbacks.", param="fallbacks")
    return list(dict.fromkeys(lookup.get(key=key).key for key in keys))


def _publish_changed(route: Route, *, before: Any, actor: str, cause: str, message: str) -> None:
    events.publish(
        name=EventName.ROUTE_CHANGED,
        subject=route.name,
        message=message,
        actor=actor,
        cause=cause,
        before=before,
        after=represent(route),
    )


def represent(route: Route) -> dict[str, Any]:
    """A route in the form of events and the API. Load it with its target."""
    return {
        "name": route.name,
        "target": route.target.key if route.target else None,
        "fallbacks": route.fallbacks,
        "load_on_demand": route.load_on_demand,
        "may_evict": route.may_evict,
        "description": route.description,
    }


def represent_change(change: RouteChange) -> dict[str, Any]:
    job_id: uuid.UUID | None = change.job_id
    return {
        "id": change.pk,
        "previous": change.previous_key or None,
        "key": change.key or None,
        "actor": change.actor,
        "job_id": job_id,
        "created_at": change.created_at,
    }
