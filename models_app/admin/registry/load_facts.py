"""What a load will take and do to others, in words for its dialog."""

from __future__ import annotations

from collections.abc import Callable

from models_app.admin.parts import units
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import InvalidRequest
from models_app.models import RegisteredModel
from models_app.services.lifecycle import estimating
from models_app.services.lifecycle.estimating import Estimate


def of_load(model: RegisteredModel) -> list[str]:
    """Need, room, who would have to go, and how long it takes; nothing where that cannot be told before."""
    return _told(model, _alone)


def of_switch(model: RegisteredModel) -> list[str]:
    """As `of_load`, where the model takes the place of another."""
    return _told(model, _in_place)


def _told(model: RegisteredModel, words: Callable[[Estimate], list[str]]) -> list[str]:
    try:
        found = estimating.estimate(model=model, options=LoadOptions())
    except InvalidRequest as error:
        # The options of its last load, which an empty form stands for, are none that this version knows.
        return [error.message]
    return words(found)


def _alone(found: Estimate) -> list[str]:
    if not found.need.ram:
        return [found.why] if found.why else []
    return [_room(found), _others(found), *_time(found)]


def _in_place(found: Estimate) -> list[str]:
    if not found.need.ram:
        return []
    beside = "Where both do not fit beside each other, the old one goes first, and requests wait for that."
    return [_room(found), beside, *_time(found)]


def _room(found: Estimate) -> str:
    told = f"It needs {units.size(found.need.ram)} of memory; {units.size(max(0, found.free.ram))} are free."
    if found.need.vram:
        cards = f"{units.size(found.need.vram)} on the graphics card; {units.size(max(0, found.free.vram))} are free"
        told = f"{told} It needs {cards}."
    return told


def _others(found: Estimate) -> str:
    if found.would_evict:
        gone = ", ".join(f"{one.resident.key}, which {one.why}" for one in found.would_evict)
        return f"For it would be evicted: {gone}."
    if found.verdict == "refused":
        return f"It would be refused. {found.why}"
    return f"It would have to wait: {found.why}" if found.why else "Nothing has to go for it."


def _time(found: Estimate) -> list[str]:
    if found.eta_seconds is None:
        return []
    basis = "as its last loads here took" if found.measured else "by its size"
    return [f"It takes about {units.seconds(found.eta_seconds)}, {basis}."]
