"""The first page: what `current` leads to, what is loaded, what runs, what happened."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from models_app.admin import jobs, marks, units
from models_app.domain.routing import CURRENT_ROUTE
from models_app.domain.states import ACTIVE_JOB_STATES, InstanceState
from models_app.models import Event, Instance, Job, RegisteredModel, Route
from models_app.services import statistics

_EVENTS_SHOWN = 8


def add_to_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK. Each part is there only for who may see its table."""
    may = {
        word: request.user.has_perm(f"models_app.view_{word}")
        for word in ("registeredmodel", "instance", "job", "event")
    }
    overview: dict[str, Any] = {"may": may, "may_nothing": not any(may.values())}
    if may["registeredmodel"]:
        overview |= _models(loaded=statistics.loaded())
    if may["job"]:
        overview["jobs"] = [
            (job, jobs.sentence(job), marks.badge(job.state), round(job.progress * 100))
            for job in Job.objects.filter(state__in=ACTIVE_JOB_STATES)
        ]
    if may["event"]:
        newest = Event.objects.order_by("-id")[:_EVENTS_SHOWN]
        overview["events"] = [(event, units.ago(event.created_at)) for event in newest]
    return {**context, "overview": overview}


def _models(*, loaded: list[Instance]) -> dict[str, Any]:
    route = Route.objects.select_related("target").filter(name=CURRENT_ROUTE).first()
    target = route.target if route else None
    return {
        "has_models": RegisteredModel.objects.exists(),
        "folder": str(settings.NOA_MODELS_DIR),
        "has_demo": settings.NOA_DEMO_DIR in settings.NOA_MODEL_ROOTS,
        "current": target,
        "current_state": _answers(target, loaded),
        "loaded": _table(loaded),
        "memory": units.size(sum(instance.memory_bytes or 0 for instance in loaded)),
        "loaded_count": len(loaded),
    }


def _answers(target: RegisteredModel | None, loaded: list[Instance]) -> tuple[str, str]:
    """A tone and a sentence: does what applications get by default answer?"""
    if target is None:
        return "warn", f"'{CURRENT_ROUTE}' leads to nothing yet: load a model and make it current."
    for instance in loaded:
        if instance.model_id == target.pk and instance.state == InstanceState.READY:
            if instance.in_flight is None:  # type: ignore[attr-defined]
                return "bad", "It is loaded, but its runner does not answer this server."
            return "good", "It answers."
    if any(instance.model_id == target.pk for instance in loaded):
        return "busy", "It is being loaded or unloaded."
    return "bad", "It is not loaded: requests are refused until it is."


def _table(loaded: list[Instance]) -> str:
    return marks.table(
        ("Model", "State", "Memory", "In flight", "Context", "Slots"),
        (
            (
                marks.link(instance.model),
                marks.badge(instance.state),
                units.size(instance.memory_bytes),
                _in_flight(instance),
                units.tokens(instance.context_tokens),
                instance.slots or units.NOTHING,
            )
            for instance in loaded
        ),
        "No model is loaded.",
    )


def _in_flight(instance: Instance) -> str:
    number: int | None = instance.in_flight  # type: ignore[attr-defined]
    return units.NOTHING if number is None else f"{number:,}"
