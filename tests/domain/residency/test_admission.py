"""The admission of loads, and the choice of models to unload for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models_app.domain.residency.admission import (
    PATIENCE,
    Evict,
    Fits,
    LoadRequest,
    Memory,
    Node,
    Refuse,
    Resident,
    Stage,
    Wait,
    decide,
    passes,
)

A = Resident("a", "1", Memory(40), idle_seconds=100, resident_seconds=500)
B = Resident("b", "2", Memory(40), idle_seconds=50, resident_seconds=500)
C = Resident("c", "3", Memory(10), idle_seconds=900, resident_seconds=900)
WISH = LoadRequest("new", Memory(40))


def node(free: int, *residents: Resident, slots: int | None = None) -> Node:
    return Node(Memory(free), residents, slots=slots)


def victims(request: LoadRequest, there: Node) -> list[str]:
    decision = decide(request, there)
    assert isinstance(decision, Evict), decision
    return [one.key for one in decision.victims]


def test_what_fits_starts_whatever_else_is_there() -> None:
    assert isinstance(decide(WISH, node(40, A, B)), Fits)


def test_the_least_recently_used_goes_first() -> None:
    assert victims(WISH, node(10, B, A)) == ["a"]


def test_who_was_used_longest_ago_stays_when_its_memory_is_not_needed() -> None:
    # c comes first by its last use, but a alone makes enough room.
    assert victims(WISH, node(0, A, B, C)) == ["a"]


def test_as_many_go_as_it_takes() -> None:
    assert victims(replace(WISH, need=Memory(90)), node(10, A, B, C)) == ["a", "b"]
    assert victims(replace(WISH, need=Memory(100)), node(10, A, B, C)) == ["c", "a", "b"]


def test_lower_priority_goes_before_longer_without_use() -> None:
    assert victims(WISH, node(0, A, replace(B, priority=10))) == ["b"]


@pytest.mark.parametrize(
    ("resident", "why"),
    [
        (replace(A, pinned=True), "is pinned"),
        (replace(A, priority=60), "has a higher priority (60 over 50)"),
    ],
)
def test_who_may_never_go_leads_to_a_refusal_that_says_so(resident: Resident, why: str) -> None:
    decision = decide(WISH, node(10, resident))
    assert isinstance(decision, Refuse)
    assert f"a {why}" in decision.why
    assert decision.most == Memory(10)


def test_what_fits_nowhere_is_refused_even_if_all_are_busy() -> None:
    decision = decide(replace(WISH, need=Memory(91)), node(10, replace(A, busy=True), B))
    assert isinstance(decision, Refuse)
    assert decision.most == Memory(90)


@pytest.mark.parametrize(
    ("resident", "why"),
    [
        (replace(A, busy=True), "is answering requests"),
        (replace(A, stage=Stage.STARTING), "is being loaded"),
        (replace(A, resident_seconds=3, min_residency=10), "stays for another 7 s at least"),
        (replace(A, stage=Stage.DRAINING), "is being unloaded"),
    ],
)
def test_who_may_go_later_is_waited_for(resident: Resident, why: str) -> None:
    decision = decide(WISH, node(10, resident))
    assert isinstance(decision, Wait)
    assert f"a {why}" in decision.why
    assert decision.drain == ()


def test_nobody_else_goes_while_enough_is_being_unloaded() -> None:
    decision = decide(WISH, node(10, replace(A, stage=Stage.DRAINING), B))
    assert isinstance(decision, Wait)


def test_after_a_fair_patience_a_busy_model_takes_no_more_requests() -> None:
    busy = [
        replace(A, busy=True, idle_seconds=0),
        replace(B, busy=True, idle_seconds=0, resident_seconds=600),
    ]
    patient = replace(WISH, waited=PATIENCE)
    decision = decide(patient, node(10, *busy))
    assert isinstance(decision, Wait)
    # Of busy ones, the one loaded longest ago.
    assert [one.key for one in decision.drain] == ["b"]
    young = [replace(one, min_residency=10_000) for one in busy]
    assert decide(patient, node(10, *young)).drain == ()  # type: ignore[union-attr]


def test_a_load_that_may_not_evict_takes_only_what_is_free() -> None:
    polite = replace(WISH, may_evict=False)
    assert isinstance(decide(polite, node(40, A)), Fits)
    assert isinstance(decide(polite, node(10, A)), Refuse)
    assert isinstance(decide(polite, node(10, replace(A, stage=Stage.DRAINING))), Wait)


def test_a_spared_model_stays() -> None:
    assert victims(replace(WISH, spared=frozenset({"a"})), node(10, A, B)) == ["b"]
    assert isinstance(decide(replace(WISH, spared=frozenset({"a", "b"})), node(10, A, B)), Refuse)


def test_the_number_of_models_is_a_limit_too() -> None:
    assert victims(WISH, node(1000, A, B, slots=2)) == ["a"]
    decision = decide(WISH, node(1000, replace(A, pinned=True), slots=1))
    assert isinstance(decision, Refuse)
    assert "NOA_MAX_LOADED_MODELS" in decision.why


def test_memory_of_graphics_cards_counts_for_itself() -> None:
    request = replace(WISH, need=Memory(ram=10, vram=40))
    on_card = replace(A, memory=Memory(ram=5, vram=40))
    there = Node(Memory(ram=100, vram=20), (replace(B, idle_seconds=1000), on_card))
    assert victims(request, there) == ["a"]


def test_a_later_load_overtakes_only_where_it_takes_nothing_from_those_before_it() -> None:
    small = LoadRequest("small", Memory(5))
    ahead = [LoadRequest("large", Memory(80))]
    # 10 are free, and 80 can be freed: enough for both.
    assert passes(small, node(10, A, B), ahead)
    assert not passes(small, node(2, A, B), ahead)
    assert not passes(small, node(10, A, replace(B, pinned=True)), ahead)
