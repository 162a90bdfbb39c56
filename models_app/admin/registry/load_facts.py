"""The expected effects of a load, in sentences for its dialog."""

from __future__ import annotations

from collections.abc import Callable

from models_app.admin.parts import units
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import InvalidRequest
from models_app.models import RegisteredModel
from models_app.services.lifecycle import estimating
from models_app.services.lifecycle.estimating import Estimate


def of_load(model: RegisteredModel) -> list[str]:
    """Memory needed and free, evictions, and duration; empty when they cannot be estimated."""
    return _described(model, _alone)


def of_switch(model: RegisteredModel) -> list[str]:
    """As `of_load`, for a model that replaces another."""
    return _described(model, _in_place)


def _described(model: RegisteredModel, words: Callable[[Estimate], list[str]]) -> list[str]:
    try:
        found = estimating.estimate(model=model, options=LoadOptions())
    except InvalidRequest as error:
        # The options of its last load, which an empty form repeats, are invalid in this version.
        return [error.message]
    return words(found)


def _alone(found: Estimate) -> list[str]:
    if not found.need.ram:
        return [found.why] if found.why else []
    return [_room(found), _others(found), *_time(found)]


def _in_place(found: Estimate) -> list[str]:
    if not found.need.ram:
        return []
    order = "If memory is too small for both, the old model is unloaded first, and requests wait meanwhile."
    return [_room(found), order, *_time(found)]


def _room(found: Estimate) -> str:
    text = f"It needs {units.size(found.need.ram)} of memory; {units.size(max(0, found.free.ram))} are free."
    if found.need.vram:
        cards = f"{units.size(found.need.vram)} on the graphics card; {units.size(max(0, found.free.vram))} are free"
        text = f"{text} It needs {cards}."
    return text


def _others(found: Estimate) -> str:
    if found.would_evict:
        evicted = ", ".join(f"{victim.resident.key}, which {victim.why}" for victim in found.would_evict)
        return f"It would evict {evicted}."
    if found.verdict == "refused":
        return f"It would be refused. {found.why}"
    return f"It would have to wait: {found.why}" if found.why else "No model has to be evicted for it."


def _time(found: Estimate) -> list[str]:
    if found.eta_seconds is None:
        return []
    basis = "measured on its last loads here" if found.measured else "estimated from its size"
    return [f"It takes about {units.seconds(found.eta_seconds)}, {basis}."]
