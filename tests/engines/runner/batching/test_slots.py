"""The choice of a slot for a prompt, and of a cache to give up."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.engines.runner.batching.generation import Embedding
from models_app.engines.runner.batching.sequences import EmbeddingSequence
from models_app.engines.runner.batching.slots import Slot, choose, common_prefix, oldest_cache

BUSY = EmbeddingSequence(Embedding([1]), array("i", [1]), 0)
tokens = st.lists(st.integers(0, 2), max_size=12)


def slot(number: int, cached: list[int], used: int, *, busy: bool = False) -> Slot:
    made = Slot(number)
    made.cached, made.used = array("i", cached), used
    made.sequence = BUSY if busy else None
    return made


def test_a_new_slot_is_idle_and_empty() -> None:
    fresh = Slot(7)
    assert (fresh.number, fresh.sequence, fresh.cached, fresh.used) == (7, None, array("i"), 0)
    # 32 bits with a sign, as llama.cpp's tokens.
    assert fresh.cached.typecode == "i"
    # Appends of one slot do not reach another one.
    fresh.cached.append(1)
    assert Slot(8).cached == array("i")


@given(tokens, tokens, tokens)
def test_the_common_prefix_is_the_longest_equal_beginning(shared: list[int], left: list[int], right: list[int]) -> None:
    one, other = array("i", shared + left), array("i", shared + right)
    length = common_prefix(one, other)
    assert length == common_prefix(other, one) >= len(shared)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


@pytest.mark.parametrize(
    ("slots", "chosen"),
    [
        ([], None),
        ([slot(0, [1, 2, 3], 1, busy=True)], None),
        ([slot(0, [], 1)], (0, 0)),
        # The longest prefix, whatever its age and place.
        ([slot(0, [1], 1), slot(1, [1, 2], 9)], (1, 2)),
        ([slot(0, [1, 2], 9), slot(1, [1], 1)], (0, 2)),
        ([slot(0, [9, 9, 9, 9], 1), slot(1, [1], 9)], (1, 1)),
        # Of equals, the one idle for longest.
        ([slot(0, [1, 2], 5), slot(1, [1, 2], 4)], (1, 2)),
        ([slot(0, [1, 2], 4), slot(1, [1, 2], 5)], (0, 2)),
        ([slot(0, [8], 5), slot(1, [9], 4), slot(2, [], 6)], (1, 0)),
        # Of slots that were used in the same step, the first.
        ([slot(0, [1], 4), slot(1, [1], 4)], (0, 1)),
        # Never one that is in use.
        ([slot(0, [1, 2, 3], 1, busy=True), slot(1, [1], 9), slot(2, [1, 2], 9, busy=True)], (1, 1)),
    ],
)
def test_it_chooses_the_slot_that_saves_most(slots: list[Slot], chosen: tuple[int, int] | None) -> None:
    found = choose(iter(slots), array("i", [1, 2, 3]))
    assert (found and (found[0].number, found[1])) == chosen


@pytest.mark.parametrize(
    ("slots", "number"),
    [
        ([], None),
        ([slot(0, [], 1)], None),
        ([slot(0, [1], 1, busy=True)], None),
        ([slot(0, [1], 7)], 0),
        ([slot(0, [1], 7), slot(1, [1], 6)], 1),
        ([slot(0, [1], 6), slot(1, [1], 7)], 0),
        ([slot(0, [], 1), slot(1, [1], 6), slot(2, [1], 2, busy=True), slot(3, [1], 9)], 1),
    ],
)
def test_the_cache_that_was_used_longest_ago_is_given_up(slots: list[Slot], number: int | None) -> None:
    found = oldest_cache(iter(slots))
    assert (found and found.number) == number
