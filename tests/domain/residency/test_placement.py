"""The choice of a node for a model, as a table."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from models_app.domain.residency.placement import NoPlace, Place, PlacementRequest, Refusal, place

GIB = 2**30
A, B, C = (Place(name, free=8 * GIB) for name in "abc")
FOUR = PlacementRequest(need=4 * GIB)

CHOICES = {
    "of equals the first by name": (FOUR, (A, B, C), "a"),
    "the least loaded": (FOUR, (replace(A, models=2), replace(B, models=1), C), "c"),
    "of equally loaded ones, the one with more room": (FOUR, (A, replace(B, free=16 * GIB)), "b"),
    "where the file is": (FOUR, (replace(A, has_file=False), B), "b"),
    "one that is up": (FOUR, (replace(A, is_up=False), B), "b"),
    "one that does not drain": (FOUR, (replace(A, is_draining=True), B), "b"),
    "where it fits": (FOUR, (replace(A, free=2 * GIB), replace(B, models=3)), "b"),
    "rather full than by an eviction": (
        FOUR,
        (replace(A, free=GIB, evictable=8 * GIB), replace(B, models=9)),
        "b",
    ),
    "by an eviction where it fits nowhere else": (
        FOUR,
        (replace(A, free=GIB), replace(B, free=GIB, evictable=4 * GIB)),
        "b",
    ),
    "where least is missing": (FOUR, (replace(A, free=GIB), replace(B, free=2 * GIB)), "b"),
    "the preferred one of those where it fits": (replace(FOUR, prefer="b"), (A, B), "b"),
    "not the preferred one where it does not fit": (
        replace(FOUR, prefer="b"),
        (A, replace(B, free=GIB)),
        "a",
    ),
    "not one to be avoided": (replace(FOUR, avoid=frozenset("a")), (A, B), "b"),
    "one to be avoided when there is no other": (replace(FOUR, avoid=frozenset("a")), (A,), "a"),
    "not where an instance is already": (FOUR, (replace(A, has_model=True), B), "b"),
    "one with a graphics card": (replace(FOUR, wants_gpu=True), (A, replace(B, has_gpu=True)), "b"),
    "a full one with a card before an empty one without": (
        replace(FOUR, wants_gpu=True),
        (A, replace(B, has_gpu=True, free=GIB, evictable=8 * GIB)),
        "b",
    ),
    "without a card rather than where it never fits": (
        replace(FOUR, wants_gpu=True),
        (A, replace(B, has_gpu=True, free=GIB)),
        "a",
    ),
    "one that has not said what it has": (FOUR, (replace(A, free=GIB), replace(B, free=None)), "b"),
    "where it fits exactly": (FOUR, (replace(A, free=4 * GIB), replace(B, models=1)), "a"),
    "where it fits exactly after an eviction": (
        FOUR,
        (replace(A, free=2 * GIB, evictable=2 * GIB), replace(B, free=GIB, evictable=8 * GIB, models=1)),
        "a",
    ),
    "rather by an eviction than where one byte is missing": (
        FOUR,
        (replace(A, free=4 * GIB - 1), replace(B, free=0, evictable=4 * GIB, models=9)),
        "b",
    ),
    "where least is missing after evictions": (
        FOUR,
        (replace(A, free=GIB, evictable=2 * GIB), replace(B, free=2 * GIB)),
        "a",
    ),
    "without a known need, a full one too": (PlacementRequest(), (replace(A, free=0), replace(B, models=1)), "a"),
    "without a known need, the least loaded": (PlacementRequest(), (replace(A, models=1), B), "b"),
    "the named one, whatever it has": (replace(FOUR, node="a"), (replace(A, free=0), B), "a"),
    "the named one, though it has the model": (
        replace(FOUR, node="a"),
        (replace(A, has_model=True), B),
        "a",
    ),
}

REFUSALS = {
    "an unknown name": (replace(FOUR, node="z"), (A,), Refusal.UNKNOWN_NODE, ("z",)),
    "the named one is down": (
        replace(FOUR, node="a"),
        (replace(A, is_up=False), B),
        Refusal.NODE_DOWN,
        ("a",),
    ),
    "the named one drains": (
        replace(FOUR, node="a"),
        (replace(A, is_draining=True), B),
        Refusal.NODE_DRAINING,
        ("a",),
    ),
    "the file is not on the named one": (
        replace(FOUR, node="a"),
        (replace(A, has_file=False), B),
        Refusal.FILE_NOT_THERE,
        ("a",),
    ),
    "the file is nowhere": (
        FOUR,
        (replace(A, has_file=False), replace(B, has_file=False)),
        Refusal.FILE_NOWHERE,
        (),
    ),
    "the file is only where nothing can be loaded": (
        FOUR,
        (replace(A, is_up=False), replace(B, is_draining=True), replace(C, has_file=False)),
        Refusal.FILE_NOWHERE,
        ("a", "b"),
    ),
}


@pytest.mark.parametrize(("wanted", "places", "name"), CHOICES.values(), ids=CHOICES)
def test_it_chooses(wanted: PlacementRequest, places: tuple[Place, ...], name: str) -> None:
    """The result does not depend on the order of the nodes."""
    for order in permutations(places):
        found = place(wanted, order)
        assert isinstance(found, Place)
        assert found.name == name


@pytest.mark.parametrize(("wanted", "places", "reason", "nodes"), REFUSALS.values(), ids=REFUSALS)
def test_it_refuses(
    wanted: PlacementRequest, places: tuple[Place, ...], reason: Refusal, nodes: tuple[str, ...]
) -> None:
    assert place(wanted, places) == NoPlace(reason, nodes)
