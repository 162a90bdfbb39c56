"""What a load will take and do to others, in words for its dialog."""

from __future__ import annotations

from models_app.admin import units
from models_app.domain.admission import Decision, Evict, Fits, Refuse, Wait
from models_app.domain.errors import NoaError
from models_app.domain.options import LoadOptions
from models_app.models import RegisteredModel
from models_app.services import load_plans
from models_app.services.load_plans import LoadPlan


def of_load(
    model: RegisteredModel, options: LoadOptions, *, spared: frozenset[str] = frozenset()
) -> list[str]:
    """Need, room, who would have to go, and how long it takes; nothing where that cannot be told before."""
    try:
        plan = load_plans.plan(model=model, options=options, spared=spared)
    except NoaError as error:
        return [error.message]
    return [] if plan is None else [_room(plan), _others(plan.decision), _time(plan)]


def _room(plan: LoadPlan) -> str:
    told = f"It needs {units.size(plan.need.ram)} of memory; {units.size(max(0, plan.free.ram))} are free."
    if plan.need.vram:
        cards = f"{units.size(plan.need.vram)} on the graphics card; {units.size(max(0, plan.free.vram))} are free"
        told = f"{told} It needs {cards}."
    return told


def _others(decision: Decision) -> str:
    match decision:
        case Fits():
            return "Nothing has to go for it."
        case Evict(victims=victims):
            gone = ", ".join(
                f"{one.key} (idle for {units.seconds(one.idle_seconds)})" for one in victims
            )
            return f"For it would be evicted: {gone}."
        case Wait(why=why):
            return f"It would have to wait: {why}."
        case Refuse(why=why):
            return f"It would be refused: {why}."


def _time(plan: LoadPlan) -> str:
    basis = "as its last loads here took" if plan.measured else "by its size"
    return f"It takes about {units.seconds(plan.seconds)}, {basis}."
