"""Chooses the node on which a model is loaded. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Place:
    """A node as a place for one model.

    has_file   the model's present file is on its disk, or the place of that file is unknown
    has_model  an instance of this model serves there, or is being started
    free       memory for models, less that of starting ones; None when the node has not reported it
    evictable  memory of models that can be unloaded
    models     the number of models that are loaded or starting there
    """

    name: str
    is_up: bool = True
    is_draining: bool = False
    has_file: bool = True
    has_model: bool = False
    has_gpu: bool = False
    free: int | None = None
    evictable: int = 0
    models: int = 0


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A load. `node` is the required node, `prefer` the preferred one; `need` is None when unknown."""

    need: int | None = None
    node: str = ""
    prefer: str = ""
    avoid: frozenset[str] = frozenset()
    wants_gpu: bool = False


class Refusal(StrEnum):
    UNKNOWN_NODE = "node_not_found"
    NODE_DOWN = "node_down"
    NODE_DRAINING = "node_draining"
    FILE_NOT_THERE = "file_not_on_node"
    FILE_NOWHERE = "no_node_has_file"


@dataclass(frozen=True, slots=True)
class NoPlace:
    """No node can load the model; `nodes` are those that the reason applies to."""

    reason: Refusal
    nodes: tuple[str, ...] = ()


def place(request: PlacementRequest, places: Iterable[Place]) -> Place | NoPlace:
    """The node on which the model fits best; of those where it does not fit, the one with the most room.

    A lack of memory is no refusal: the node's own admission decides, with the models that it can evict.
    """
    known = tuple(places)
    if request.node:
        return _named(request, known)
    fit = [candidate for candidate in known if candidate.has_file]
    usable = [candidate for candidate in fit if candidate.is_up and not candidate.is_draining]
    if not usable:
        return NoPlace(Refusal.FILE_NOWHERE, tuple(candidate.name for candidate in fit))
    others = [candidate for candidate in usable if candidate.name not in request.avoid and not candidate.has_model]
    return min(others or usable, key=lambda candidate: _rank(request, candidate))


def _named(request: PlacementRequest, known: tuple[Place, ...]) -> Place | NoPlace:
    found = next((candidate for candidate in known if candidate.name == request.node), None)
    if found is None:
        return NoPlace(Refusal.UNKNOWN_NODE, (request.node,))
    for is_wrong, reason in (
        (not found.is_up, Refusal.NODE_DOWN),
        (found.is_draining, Refusal.NODE_DRAINING),
        (not found.has_file, Refusal.FILE_NOT_THERE),
    ):
        if is_wrong:
            return NoPlace(reason, (found.name,))
    return found


def _rank(request: PlacementRequest, candidate: Place) -> tuple[object, ...]:
    """A sort key: smaller is better. The name comes last, which makes the choice deterministic."""
    need = request.need or 0
    # A node that has not reported its memory counts as having room: its own admission decides.
    free = need if candidate.free is None else candidate.free
    return (
        # What is missing after all evictions.
        max(0, need - free - candidate.evictable),
        request.wants_gpu and not candidate.has_gpu,
        free < need,
        candidate.name != request.prefer,
        candidate.models,
        -free,
        candidate.name,
    )
