"""The words and figures of an admission, and the choice of victims held against every other choice."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.residency.admission import (
    PATIENCE,
    Candidate,
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

A = Resident("a", "1", Memory(40, 4), idle_seconds=12.34)
B = Resident("b", "2", Memory(30, 3), idle_seconds=7)
NEED = LoadRequest("new", Memory(60))


def test_memory_is_counted_apart_for_machine_and_gpus() -> None:
    assert Memory(5, 3) + Memory(2, 1) == Memory(7, 4)
    for need, fits in [((5, 3), True), ((6, 3), False), ((5, 4), False), ((6, 4), False), ((0, 0), True)]:
        assert Memory(*need).fits_into(Memory(5, 3)) is fits


@pytest.mark.parametrize(
    ("least", "loaded", "left"),
    [(10.0, 0.0, 10.0), (10.0, 4.0, 6.0), (10.0, 10.0, 0.0), (10.0, 99.0, 0.0), (0.0, 0.0, 0.0)],
)
def test_a_model_stays_for_its_least_residency(least: float, loaded: float, left: float) -> None:
    assert replace(A, min_residency=least, resident_seconds=loaded).residency_left == left


def test_a_candidate_is_described_in_bytes_and_seconds() -> None:
    assert Candidate(A, "goes", "is idle").as_dict() == {
        "key": "a",
        "verdict": "goes",
        "why": "is idle",
        "bytes": 40,
        "idle_seconds": 12.3,
    }


def verdicts(candidates: tuple[Candidate, ...]) -> list[tuple[str, str, str]]:
    return [(one.resident.key, one.verdict, one.why) for one in candidates]


@pytest.mark.parametrize(
    ("resident", "request_", "verdict", "why"),
    [
        (A, NEED, "goes", "has not been used for 12 s"),
        (replace(A, stage=Stage.DRAINING, pinned=True), NEED, "waited for", "is being unloaded already"),
        (A, replace(NEED, spared=frozenset("a")), "stays", "answers until this switch has ended"),
        (replace(A, pinned=True), NEED, "stays", "is pinned"),
        (replace(A, priority=51), NEED, "stays", "has a higher priority (51 over 50)"),
        (replace(A, priority=51), replace(NEED, priority=51), "goes", "has not been used for 12 s"),
        (A, replace(NEED, may_evict=False), "stays", "must not be unloaded for this request"),
        (replace(A, stage=Stage.STARTING, busy=True), NEED, "waited for", "is being loaded"),
        (
            replace(A, min_residency=9, resident_seconds=2.4, busy=True),
            NEED,
            "waited for",
            "stays for another 7 s at least",
        ),
        (replace(A, min_residency=0.5), NEED, "waited for", "stays for another 0 s at least"),
        (replace(A, busy=True), NEED, "waited for", "is answering requests"),
    ],
)
def test_each_resident_gets_a_verdict(resident: Resident, request_: LoadRequest, verdict: str, why: str) -> None:
    decision = decide(request_, Node(Memory(20), (resident,)))
    assert verdicts(decision.candidates) == [("a", verdict, why)]


def test_what_fits_has_no_candidates() -> None:
    assert decide(NEED, Node(Memory(60), (A, B))) == Fits(())


def test_a_refusal_names_the_limit_and_each_model_that_stays() -> None:
    residents = (replace(A, pinned=True), B, replace(B, key="c", priority=60))
    decision = decide(NEED, Node(Memory(20, 1), residents, bound="the budget"))
    assert isinstance(decision, Refuse)
    assert decision.why == "the budget does not have the memory; a is pinned; c has a higher priority (60 over 50)"
    assert decision.most == Memory(50, 4)
    assert [verdict for _, verdict, _ in verdicts(decision.candidates)] == ["stays", "goes", "stays"]
    alone = decide(NEED, Node(Memory(59), ()))
    assert alone == Refuse("this machine does not have the memory", Memory(59), ())


def test_a_refusal_for_the_number_of_models_names_its_setting() -> None:
    decision = decide(NEED, Node(Memory(60), (replace(A, pinned=True), replace(B, pinned=True)), slots=2))
    assert isinstance(decision, Refuse)
    assert decision.why == ("at most 2 models can be loaded at once (NOA_MAX_LOADED_MODELS); a is pinned; b is pinned")


def test_only_what_goes_is_a_victim_and_the_others_are_not_needed() -> None:
    decision = decide(NEED, Node(Memory(20), (A, B, replace(B, key="c", busy=True))))
    assert isinstance(decision, Evict)
    assert decision.victims == (A,)
    assert verdicts(decision.candidates) == [
        ("a", "goes", "has not been used for 12 s"),
        ("b", "stays", "its memory is not needed"),
        ("c", "waited for", "is answering requests"),
    ]


def test_a_load_waits_for_those_that_are_being_unloaded_when_that_is_enough() -> None:
    going = [replace(one, stage=Stage.DRAINING) for one in (A, B)]
    decision = decide(NEED, Node(Memory(0), (*going, replace(A, key="c"))))
    assert isinstance(decision, Wait)
    assert (decision.why, decision.drain) == ("a, b is being unloaded.", ())


def test_what_is_being_unloaded_counts_towards_the_room() -> None:
    decision = decide(NEED, Node(Memory(0), (replace(B, stage=Stage.DRAINING), replace(B, key="c"), A)))
    assert isinstance(decision, Evict)
    # 30 come from b. The 40 of a are enough, as are the 30 of c, which was used later.
    assert decision.victims == (A,)


@pytest.mark.parametrize(("waited", "drained"), [(0.0, []), (PATIENCE - 0.1, []), (PATIENCE, ["a"]), (99.0, ["a"])])
def test_a_load_that_waited_long_enough_drains_a_busy_model(waited: float, drained: list[str]) -> None:
    busy = replace(A, busy=True)
    decision = decide(replace(NEED, waited=waited), Node(Memory(20), (busy, replace(A, key="c", stage=Stage.STARTING))))
    assert isinstance(decision, Wait)
    assert decision.why == "a is answering requests; c is being loaded."
    assert [verdict for _, verdict, _ in verdicts(decision.candidates)] == ["waited for", "waited for"]
    assert [one.key for one in decision.drain] == drained


def test_idle_models_are_unloaded_with_the_busy_one_that_must_be_drained() -> None:
    request = replace(NEED, waited=PATIENCE)
    both = (replace(A, busy=True), B)
    decision = decide(request, Node(Memory(0), both))
    assert isinstance(decision, Wait)
    assert {one.key for one in decision.drain} == {"a", "b"}
    # A model within its least residency is not drained, nor one that starts.
    for protected in (replace(A, busy=True, min_residency=9), replace(A, stage=Stage.STARTING)):
        decision = decide(request, Node(Memory(0), (protected, B)))
        assert isinstance(decision, Wait)
        assert decision.drain == ()


residents = st.lists(
    st.builds(
        Resident,
        key=st.just(""),
        instance_id=st.just(""),
        memory=st.builds(Memory, st.integers(1, 6), st.integers(0, 3)),
        busy=st.booleans(),
        pinned=st.booleans(),
        priority=st.sampled_from([10, 50, 90]),
        stage=st.sampled_from([Stage.READY, Stage.READY, Stage.READY, Stage.STARTING, Stage.DRAINING]),
        idle_seconds=st.integers(0, 3).map(float),
        resident_seconds=st.integers(0, 6).map(float),
        min_residency=st.sampled_from([0.0, 3.0]),
    ),
    max_size=5,
).map(lambda found: tuple(replace(one, key=str(number)) for number, one in enumerate(found)))
nodes = st.builds(
    Node,
    free=st.builds(Memory, st.integers(0, 6), st.integers(0, 3)),
    residents=residents,
    slots=st.none() | st.integers(1, 5),
)
requests = st.builds(
    LoadRequest,
    key=st.just("new"),
    need=st.builds(Memory, st.integers(1, 15), st.integers(0, 6)),
    may_evict=st.booleans(),
    waited=st.sampled_from([0.0, PATIENCE]),
    spared=st.sampled_from([frozenset(), frozenset("0")]),
)


def has_room(request: LoadRequest, node: Node, gone: tuple[Resident, ...]) -> bool:
    ram = node.free.ram + sum(one.memory.ram for one in gone)
    vram = node.free.vram + sum(one.memory.vram for one in gone)
    fits = request.need.ram <= ram and request.need.vram <= vram
    return fits and (node.slots is None or len(node.residents) - len(gone) + 1 <= node.slots)


def subsets(of: list[Resident]) -> list[tuple[Resident, ...]]:
    return list(chain.from_iterable(combinations(of, size) for size in range(len(of) + 1)))


def protected(request: LoadRequest, one: Resident) -> bool:
    return one.pinned or one.key in request.spared or one.priority > request.priority or not request.may_evict


@given(requests, nodes)
def test_every_decision_is_the_mildest_that_is_enough(request: LoadRequest, node: Node) -> None:
    going = [one for one in node.residents if one.stage == Stage.DRAINING]
    later = [one for one in node.residents if one not in going and not protected(request, one)]
    # What can be unloaded now, and after the patience of the load.
    settled = [one for one in later if one.stage == Stage.READY and one.resident_seconds >= one.min_residency]
    idle = [one for one in settled if not one.busy]
    decision = decide(request, node)
    if has_room(request, node, ()):
        assert isinstance(decision, Fits)
    elif not has_room(request, node, (*going, *later)):
        assert isinstance(decision, Refuse)
        assert decision.most.ram == node.free.ram + sum(one.memory.ram for one in (*going, *later))
        assert decision.most.vram == node.free.vram + sum(one.memory.vram for one in (*going, *later))
    elif has_room(request, node, tuple(going)):
        assert isinstance(decision, Wait)
        assert decision.drain == ()
    elif has_room(request, node, (*going, *idle)):
        assert isinstance(decision, Evict)
        enough_but_none_too_many(request, node, going, idle, decision.victims)
    else:
        assert isinstance(decision, Wait)
        if request.waited >= PATIENCE and has_room(request, node, (*going, *settled)):
            enough_but_none_too_many(request, node, going, settled, decision.drain)
        else:
            assert decision.drain == ()


def enough_but_none_too_many(
    request: LoadRequest, node: Node, going: list[Resident], among: list[Resident], chosen: tuple[Resident, ...]
) -> None:
    assert set(chosen) <= set(among)
    assert has_room(request, node, (*going, *chosen))
    assert not any(has_room(request, node, (*going, *fewer)) for fewer in subsets(list(chosen))[:-1])


@pytest.mark.parametrize(
    ("sizes", "overtakes"), [([], True), ([40], True), ([41], False), ([20, 20], True), ([20, 21], False)]
)
def test_memory_for_all_loads_ahead_must_remain(sizes: list[int], overtakes: bool) -> None:
    ahead = [LoadRequest(str(size), Memory(size)) for size in sizes]
    node = Node(Memory(10), (A, replace(B, pinned=True)))
    assert passes(replace(NEED, need=Memory(10)), node, ahead) is overtakes


@pytest.mark.parametrize(("slots", "overtakes"), [(None, True), (2, False), (3, False), (4, True), (5, True)])
def test_a_place_for_the_load_ahead_must_remain(slots: int | None, overtakes: bool) -> None:
    node = Node(Memory(200), (A, B), slots=slots)
    assert passes(NEED, node, [replace(NEED, key="ahead")]) is overtakes


@given(requests, nodes, st.lists(requests, max_size=3))
def test_a_load_overtakes_only_what_still_fits_after_it(
    request: LoadRequest, node: Node, ahead: list[LoadRequest]
) -> None:
    free = [one for one in node.residents if not one.pinned]
    ram = node.free.ram + sum(one.memory.ram for one in free) - sum(one.need.ram for one in (request, *ahead))
    vram = node.free.vram + sum(one.memory.vram for one in free) - sum(one.need.vram for one in (request, *ahead))
    places = node.slots is None or node.slots - len(node.residents) >= 2
    assert passes(request, node, ahead) == (has_room(request, node, ()) and ram >= 0 and vram >= 0 and places)


@given(
    st.permutations(
        [replace(A, key=str(number), priority=10 * (number // 4), idle_seconds=9 - number % 4) for number in range(8)]
    )
)
def test_of_equal_models_low_priorities_and_long_idle_times_go_first(order: list[Resident]) -> None:
    for count in range(1, 9):
        decision = decide(replace(NEED, need=Memory(40 * count), priority=99), Node(Memory(0), order))
        assert isinstance(decision, Evict)
        assert [one.key for one in decision.victims] == [str(number) for number in range(count)]


@given(
    st.permutations(
        [replace(A, key=str(number), busy=True, idle_seconds=0, resident_seconds=9 - number) for number in range(4)]
    )
)
def test_of_busy_models_those_loaded_longest_ago_are_drained_first(order: list[Resident]) -> None:
    for count in range(1, 5):
        decision = decide(replace(NEED, need=Memory(40 * count), waited=PATIENCE), Node(Memory(0), order))
        assert isinstance(decision, Wait)
        assert [one.key for one in decision.drain] == [str(number) for number in range(count)]
