"""Records of refused requests are bounded, and none is lost from the count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.records.refusals import OTHER, PERIOD_SECONDS, Counted, Sampler

sources = st.sampled_from([f"192.0.2.{number}" for number in range(40)])
times = st.lists(st.tuples(sources, st.floats(0, 5 * PERIOD_SECONDS)), max_size=300)


@given(times, st.integers(1, 4), st.integers(1, 6))
def test_every_refusal_is_kept_or_counted_and_few_are_kept(
    calls: list[tuple[str, float]], each: int, most: int
) -> None:
    calls.sort(key=lambda call: call[1])
    sampler = Sampler(each, most)
    kept = [call for call in calls if sampler.take(*call)]
    counted = sampler.ended(6 * PERIOD_SECONDS)
    assert len(kept) + sum(entry.count for entry in counted) == len(calls)
    for period in range(6):
        of_period = [source for source, at in kept if int(at // PERIOD_SECONDS) == period]
        assert len(set(of_period)) <= most
        assert all(of_period.count(source) <= each for source in of_period)
    # At most one for each source with records, and one for all others, and few are held while they cannot be stored.
    assert len(counted) <= 2 * most + 1


def test_the_first_refusals_of_each_source_are_kept() -> None:
    sampler = Sampler(2, 2)
    assert [sampler.take("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert [sampler.take("b", 1.0) for _ in range(3)] == [True, True, False]
    assert [sampler.take("c", 2.0) for _ in range(3)] == [False] * 3
    assert sampler.take("a", PERIOD_SECONDS)
    ended = {entry.source: entry.count for entry in sampler.ended(PERIOD_SECONDS)}
    assert ended == {"a": 2, "b": 1, OTHER: 3}
    assert sampler.ended(PERIOD_SECONDS) == []


def test_the_present_period_can_be_ended_early_once() -> None:
    sampler = Sampler(1, 1)
    for at in (0.0, 1.0, 5.0):
        sampler.take("a", at)
    assert sampler.ended(6.0) == []
    (entry,) = sampler.ended(6.0, every=True)
    assert (entry.count, entry.first_at, entry.last_at) == (2, 1.0, 5.0)
    assert not sampler.take("a", 7.0)
    assert [entry.count for entry in sampler.ended(8.0, every=True)] == [1]


def test_a_period_begins_at_a_whole_minute() -> None:
    sampler = Sampler(1, 1)
    assert sampler.take("a", PERIOD_SECONDS - 0.1)
    assert not sampler.take("a", PERIOD_SECONDS - 0.05)
    assert sampler.ended(PERIOD_SECONDS - 0.01) == []
    assert sampler.take("a", PERIOD_SECONDS)
    assert sampler.ended(PERIOD_SECONDS) == [Counted("a", PERIOD_SECONDS - 0.05, PERIOD_SECONDS - 0.05, 1)]


def test_a_source_that_is_known_is_not_counted_with_the_others() -> None:
    sampler = Sampler(2, 1)
    calls = [("a", 0.0), ("b", 1.0), ("a", 2.0), ("c", 3.0), ("a", 4.0), ("a", 5.0)]
    assert [sampler.take(*call) for call in calls] == [True, False, True, False, False, False]
    assert sampler.ended(6.0, every=True) == [Counted(OTHER, 1.0, 3.0, 2), Counted("a", 4.0, 5.0, 2)]
    # The sources stay known until the period ends.
    assert not sampler.take("a", 7.0)


def test_what_cannot_be_stored_for_long_is_added_up() -> None:
    sampler = Sampler(1, 2)
    for period in range(10):
        for _ in range(3):
            sampler.take("a", period * PERIOD_SECONDS + 1)
    ended = sampler.ended(10 * PERIOD_SECONDS)
    assert [entry.count for entry in ended] == [2, 2, 2, 2, 12]
    assert [entry.first_at for entry in ended] == [period * PERIOD_SECONDS + 1 for period in range(5)]
    assert ended[-1].last_at == 9 * PERIOD_SECONDS + 1


def test_ended_periods_come_with_the_present_one() -> None:
    sampler = Sampler(1, 1)
    for at in (0.0, 1.0, PERIOD_SECONDS, PERIOD_SECONDS + 1):
        sampler.take("a", at)
    ended = sampler.ended(PERIOD_SECONDS + 2, every=True)
    assert [(entry.first_at, entry.count) for entry in ended] == [(1.0, 1), (PERIOD_SECONDS + 1, 1)]
