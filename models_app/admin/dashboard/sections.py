"""The parts of the overview: the template context of each, and the table that it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from models_app.admin.dashboard import figures
from models_app.admin.parts import badges, bars, units
from models_app.admin.records import jobs
from models_app.domain.measuring.attention import Warning, budget_is_near
from models_app.domain.states import InstanceState
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import Instance, Route
from models_app.services.reporting.overview import Facts, NodeMemory
from models_app.services.runners import health

Context = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """`templates/admin/noa/live/<name>.html` renders what `context` returns."""

    # Who can view this table can view the part.
    table: str
    context: Callable[[Facts], Context]


def warnings(facts: Facts) -> Context:
    return {"warnings": [(warning, _page_of(warning)) for warning in facts.warnings]}


def _page_of(warning: Warning) -> str:
    """The page on which an operator can resolve the warning; empty without one."""
    lists = {"model": "registeredmodel", "provider": "provider", "job": "job", "node": "instance"}
    if warning.kind not in lists:
        return ""
    address = reverse(f"admin:models_app_{lists[warning.kind]}_changelist")
    if warning.kind == "job":
        return reverse("admin:models_app_job_change", args=[warning.subject])
    return f"{address}?{badges.query(q=warning.subject)}"


def current(facts: Facts) -> Context:
    tone, sentence = _answers(facts)
    others = [route for route in facts.routes if route.name != CURRENT_ROUTE]
    current_route = next((route for route in facts.routes if route.name == CURRENT_ROUTE), None)
    return {
        "has_models": facts.model_count > 0,
        "folder": str(settings.NOA_MODELS_DIR),
        "has_demo": settings.NOA_DEMO_DIR in settings.NOA_MODEL_ROOTS,
        "current": facts.current,
        "route": current_route,
        "tone": tone,
        "sentence": sentence,
        "routes": [(route, _route_tone(route, facts.loaded)) for route in others],
    }


def _answers(facts: Facts) -> tuple[str, str]:
    """A tone and a sentence on whether the current model can answer."""
    target = facts.current
    if target is None:
        return "warn", "It has no target yet: choose a model and make it current."
    copies = [copy for copy in facts.loaded if copy.model_id == target.pk]
    ready = [copy for copy in copies if copy.state == InstanceState.READY]
    if ready:
        return _ready(ready)
    if copies:
        return "busy", "It is being loaded or unloaded."
    if target.on_demand:
        return "warn", "It is not loaded: the next request loads it, and waits until it is ready."
    return "bad", "It is not loaded: requests are refused until it is."


def _ready(ready: list[Instance]) -> tuple[str, str]:
    if all(health.is_failing(copy) for copy in ready):
        return "bad", "It is loaded, but its runner does not answer."
    in_flight = sum(_in_flight(copy) or 0 for copy in ready)
    return "good", f"It answers. {in_flight:,} in flight." if in_flight else "It answers."


def _in_flight(instance: Instance) -> int | None:
    number: int | None = getattr(instance, "in_flight", None)
    return number


def _route_tone(route: Route, loaded: list[Instance]) -> str:
    ready = any(copy.model_id == route.target_id and copy.state == InstanceState.READY for copy in loaded)
    return "good" if ready else "warn"


def traffic(facts: Facts) -> Context:
    return {"tiles": figures.tiles(facts.traffic)}


def memory(facts: Facts) -> Context:
    return {"nodes": [_node(node) for node in facts.nodes], "has_models": facts.model_count > 0}


def _node(node: NodeMemory) -> Context:
    instances = sorted(node.instances, key=lambda copy: -(copy.memory_bytes or 0))
    return {
        "name": node.name,
        "lost": node.lost,
        "bar": bars.memory([(copy.model.key, copy.memory_bytes or 0) for copy in instances], room=node.room),
        "summary": _memory_text(node),
        "near": budget_is_near(used=node.used, budget=node.room),
        "rows": [(bars.tone(number), copy, _figures(copy)) for number, copy in enumerate(instances)],
    }


def _memory_text(node: NodeMemory) -> str:
    parts = [f"models take {units.size(node.used)}"]
    if node.budget:
        parts[0] += f" of a budget of {units.size(node.budget)}"
    if node.total:
        parts.append(f"{units.size(node.free)} of {units.size(node.total)} free on the machine")
    return ", ".join(parts)


def _figures(instance: Instance) -> Context:
    number = _in_flight(instance)
    return {
        "state": badges.instance_state(instance),
        "memory": units.size(instance.memory_bytes),
        "in_flight": units.NOTHING if number is None else f"{number:,}",
        "context": units.tokens(instance.context_tokens),
        "slots": instance.slots or units.NOTHING,
        "used": badges.ago(instance.last_used_at or instance.ready_at),
    }


def running(facts: Facts) -> Context:
    return {
        "has_models": facts.model_count > 0,
        "jobs": [
            (job, jobs.sentence(job), badges.badge(job.state), round(job.progress * 100), _step(job.steps))
            for job in facts.jobs
        ],
    }


def _step(steps: list[dict[str, Any]]) -> str:
    return str(steps[-1]["name"]).replace("_", " ") if steps else "waiting for a worker"


def events(facts: Facts) -> Context:
    return {
        "has_models": facts.model_count > 0,
        "events": [(event, badges.event_tone(event.name), badges.ago(event.created_at)) for event in facts.events],
    }


SECTIONS = {
    "warnings": Section("registeredmodel", warnings),
    "current": Section("registeredmodel", current),
    "traffic": Section("accesslog", traffic),
    "memory": Section("instance", memory),
    "running": Section("job", running),
    "events": Section("event", events),
}
