"""Decides whether a model can be loaded now, and which models to unload for it. Sizes are bytes, times seconds.

The dry run and the load itself call `decide` before a load; a load that waits calls it repeatedly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# The time that a load waits for a busy model before that model is drained: it finishes its requests, and new ones wait.
# If it were shorter, two busy models would be swapped all the time; if longer, one would starve the other.
PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine, and of all its GPUs together."""

    ram: int = 0
    vram: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.ram + other.ram, self.vram + other.vram)

    def fits_into(self, room: Memory) -> bool:
        return self.ram <= room.ram and self.vram <= room.vram


class Stage(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Resident:
    """A local model that holds memory of this node."""

    key: str
    instance_id: str
    memory: Memory
    stage: Stage = Stage.READY
    busy: bool = False
    pinned: bool = False
    priority: int = 50
    idle_seconds: float = 0.0
    resident_seconds: float = 0.0
    min_residency: float = 0.0

    @property
    def residency_left(self) -> float:
        return max(0.0, self.min_residency - self.resident_seconds)


@dataclass(frozen=True, slots=True)
class Node:
    """A node's resources. `bound` describes the limit of `free`; `slots` is the largest number of loaded models."""

    free: Memory
    residents: Sequence[Resident]
    bound: str = "this machine"
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A load. `waited` counts from the first decision."""

    key: str
    need: Memory
    priority: int = 50
    may_evict: bool = True
    waited: float = 0.0
    # Keys of models that stay loaded: a switch needs the old one until the new one answers.
    spared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """The verdict on one resident."""

    resident: Resident
    verdict: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The form for the API, errors and the ledger."""
        return {
            "key": self.resident.key,
            "verdict": self.verdict,
            "why": self.why,
            "bytes": self.resident.memory.ram,
            "idle_seconds": round(self.resident.idle_seconds, 1),
        }


@dataclass(frozen=True, slots=True)
class Fits:
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Evict:
    """The load fits once the victims are unloaded; all of them are idle."""

    victims: tuple[Resident, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """The load will fit later. Models in `drain` must stop accepting requests now."""

    why: str
    candidates: tuple[Candidate, ...]
    drain: tuple[Resident, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """The load does not fit, and waiting frees too little. `most` is the memory that can be freed at best."""

    why: str
    most: Memory
    candidates: tuple[Candidate, ...]


Decision = Fits | Evict | Wait | Refuse

_STAYS, _GOES, _WAITED_FOR = "stays", "goes", "waited for"


def decide(request: LoadRequest, node: Node) -> Decision:
    """Returns the smallest change that allows this load to start."""
    if _has_room(request, node, ()):
        return Fits()
    candidates = tuple(_judged(request, resident) for resident in node.residents)
    return _hopeless(request, node, candidates) or _make_room(request, node, candidates)


def passes(request: LoadRequest, node: Node, ahead: Iterable[LoadRequest]) -> bool:
    """Whether a load can overtake those ahead of it, because enough memory remains for them."""
    if not _has_room(request, node, ()):
        return False
    taken = request.need
    for other in ahead:
        taken += other.need
    reclaimable = [resident for resident in node.residents if not resident.pinned]
    enough = taken.fits_into(_freed(node, reclaimable))
    return enough and (node.slots is None or node.slots > len(node.residents) + 1)


def _has_room(request: LoadRequest, node: Node, gone: Iterable[Resident]) -> bool:
    gone = tuple(gone)
    left = len(node.residents) - len(gone)
    return request.need.fits_into(_freed(node, gone)) and (node.slots is None or left < node.slots)


def _freed(node: Node, gone: Iterable[Resident]) -> Memory:
    free = node.free
    for resident in gone:
        free += resident.memory
    return free


def _judged(request: LoadRequest, resident: Resident) -> Candidate:
    """The verdict on a resident: `goes` if it can be unloaded now, `waited for` if later, else `stays`."""
    if resident.stage == Stage.DRAINING:
        return Candidate(resident, _WAITED_FOR, "is being unloaded already")
    if resident.key in request.spared:
        return Candidate(resident, _STAYS, "answers until this switch has ended")
    if resident.pinned:
        return Candidate(resident, _STAYS, "is pinned")
    if resident.priority > request.priority:
        return Candidate(resident, _STAYS, f"has a higher priority ({resident.priority} over {request.priority})")
    if not request.may_evict:
        return Candidate(resident, _STAYS, "must not be unloaded for this request")
    if resident.stage == Stage.STARTING:
        return Candidate(resident, _WAITED_FOR, "is being loaded")
    if resident.residency_left > 0:
        return Candidate(resident, _WAITED_FOR, f"stays for another {resident.residency_left:.0f} s at least")
    if resident.busy:
        return Candidate(resident, _WAITED_FOR, "is answering requests")
    return Candidate(resident, _GOES, f"has not been used for {resident.idle_seconds:.0f} s")


def _hopeless(request: LoadRequest, node: Node, candidates: tuple[Candidate, ...]) -> Refuse | None:
    movable = [candidate.resident for candidate in candidates if candidate.verdict != _STAYS]
    if _has_room(request, node, movable):
        return None
    most = _freed(node, movable)
    kept = [f"{candidate.resident.key} {candidate.why}" for candidate in candidates if candidate.verdict == _STAYS]
    if request.need.fits_into(most):
        why = f"at most {node.slots} models can be loaded at once (NOA_MAX_LOADED_MODELS)"
    else:
        why = f"{node.bound} does not have the memory"
    return Refuse("; ".join([why, *kept]), most, candidates)


def _make_room(request: LoadRequest, node: Node, candidates: tuple[Candidate, ...]) -> Decision:
    going = [candidate.resident for candidate in candidates if candidate.resident.stage == Stage.DRAINING]
    if _has_room(request, node, going):
        names = _names(going)
        return Wait(f"{names} is being unloaded.", candidates)
    idle = [candidate.resident for candidate in candidates if candidate.verdict == _GOES]
    if victims := _fewest(request, node, going, idle):
        return Evict(victims, _marked(candidates, victims))
    return _wait_for_busy(request, node, candidates, going, idle)


def _wait_for_busy(
    request: LoadRequest,
    node: Node,
    candidates: tuple[Candidate, ...],
    going: list[Resident],
    idle: list[Resident],
) -> Wait:
    waited_for = [candidate for candidate in candidates if candidate.verdict == _WAITED_FOR]
    why = "; ".join(f"{candidate.resident.key} {candidate.why}" for candidate in waited_for) + "."
    if request.waited < PATIENCE:
        return Wait(why, candidates)
    busy = [
        candidate.resident
        for candidate in waited_for
        if candidate.resident.stage == Stage.READY and not candidate.resident.residency_left
    ]
    return Wait(why, candidates, drain=_fewest(request, node, going, [*idle, *busy]))


def _order(resident: Resident) -> tuple[bool, int, float, float]:
    """The order of unloading: idle before busy, low priority before high, then least recently used; of busy models,
    that loaded longest ago."""
    return resident.busy, resident.priority, -resident.idle_seconds, -resident.resident_seconds


def _fewest(
    request: LoadRequest, node: Node, going: Sequence[Resident], among: Sequence[Resident]
) -> tuple[Resident, ...]:
    """The fewest residents to unload until there is room; () if all of them are not enough."""
    chosen: list[Resident] = []
    for resident in sorted(among, key=_order):
        chosen.append(resident)
        if _has_room(request, node, [*going, *chosen]):
            break
    else:
        return ()
    for resident in tuple(chosen):
        rest = [other for other in chosen if other is not resident]
        if _has_room(request, node, [*going, *rest]):
            chosen = rest
    return tuple(chosen)


def _marked(candidates: tuple[Candidate, ...], victims: tuple[Resident, ...]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(candidate.resident, _STAYS, "its memory is not needed")
        if candidate.verdict == _GOES and candidate.resident not in victims
        else candidate
        for candidate in candidates
    )


def _names(residents: Sequence[Resident]) -> str:
    return ", ".join(resident.key for resident in residents)
