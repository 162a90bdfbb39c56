"""The decisions to move a route automatically, or to keep it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.domain.residency import autoswitch
from models_app.domain.residency.autoswitch import Decision, Evidence, Policy, Rival, Standing

GOOD = {"success_rate": 1.0, "ttft_ms": 100.0, "tokens_per_second": 80.0}
BAD = {"success_rate": 0.9, "ttft_ms": 900.0, "tokens_per_second": 10.0}
POLICY = Policy(threshold=0.15, confirmations=3, cool_down_seconds=600, min_requests=30)
# The other model leads clearly, in two decisions so far.
ABOUT_TO = Standing("b", 2, None)


def rival(mine: dict[str, float] = GOOD, present: dict[str, float] = BAD, requests: int = 50) -> Rival:
    return Rival("b", "traffic", Evidence(requests, mine), Evidence(50, present))


def decided(rivals: list[Rival], standing: Standing = ABOUT_TO, now: float = 0.0) -> Decision:
    return autoswitch.decide("a", rivals, policy=POLICY, standing=standing, now=now)


@pytest.mark.parametrize(
    ("rivals", "standing", "reason", "to"),
    [
        ([rival()], ABOUT_TO, "better", "b"),
        ([rival()], Standing("b", 1), "unconfirmed", "a"),
        ([rival()], Standing("c", 9), "unconfirmed", "a"),
        ([rival()], Standing("b", 9, moved_at=-599), "cool_down", "a"),
        ([rival()], Standing("b", 9, moved_at=-600), "better", "b"),
        ([rival(present=GOOD)], ABOUT_TO, "below_threshold", "a"),
        ([rival(mine=BAD, present=GOOD)], ABOUT_TO, "below_threshold", "a"),
        ([rival(requests=29)], ABOUT_TO, "not_enough_data", "a"),
        ([rival(mine={"success_rate": 1.0})], ABOUT_TO, "not_enough_data", "a"),
        ([], ABOUT_TO, "no_rival", "a"),
    ],
)
def test_a_decision_and_its_reason(rivals: list[Rival], standing: Standing, reason: str, to: str) -> None:
    decision = decided(rivals, standing)
    assert (decision.reason, decision.to, decision.move) == (reason, to, to == "b")
    assert decision.why.endswith(".")


def test_a_look_without_a_leader_begins_the_count_anew() -> None:
    assert decided([rival(present=GOOD)]).standing == Standing()


def test_a_score_is_between_nothing_and_one_and_knows_better_from_worse() -> None:
    good, bad = (autoswitch.score(Evidence(1, one), POLICY.weights) for one in (GOOD, BAD))
    assert good is not None and bad is not None
    assert 0 < bad < good < 1
    assert autoswitch.score(Evidence(1, GOOD), {"ttft_ms": 1, "e2el_ms": 0}) == pytest.approx(5 / 6)


def figures(speeds: tuple[float, float]) -> list[dict[str, float]]:
    return [{"success_rate": 1.0, "ttft_ms": 100.0, "tokens_per_second": speed} for speed in speeds]


def moves(speeds: list[tuple[float, float]], policy: Policy, every: float) -> list[float]:
    """The times at which a route between two models moved, over decisions with these speeds."""
    present, other = "a", "b"
    standing, moved = Standing(), []
    for number, pair in enumerate(speeds):
        mine = dict(zip(("a", "b"), figures(pair), strict=True))
        challenger = Rival(other, "traffic", Evidence(50, mine[other]), Evidence(50, mine[present]))
        now = number * every
        decision = autoswitch.decide(present, [challenger], policy=policy, standing=standing, now=now)
        standing = decision.standing
        if decision.move:
            present, other = other, present
            moved.append(now)
    return moved


SPEEDS = st.lists(st.tuples(st.floats(1, 500), st.floats(1, 500)), min_size=1, max_size=120)


@settings(max_examples=60, deadline=None)
@given(SPEEDS, st.sampled_from([1.0, 60.0, 400.0]))
def test_whatever_is_measured_moves_are_never_closer_than_the_cool_down(
    speeds: list[tuple[float, float]], every: float
) -> None:
    moved = moves(speeds, POLICY, every)
    assert all(later - earlier >= 600 for earlier, later in zip(moved, moved[1:], strict=False))
    assert not moved or moved[0] >= 2 * every, "three looks must agree"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(90, 110), st.floats(90, 110)), min_size=1, max_size=120))
def test_noise_below_the_threshold_moves_nothing(speeds: list[tuple[float, float]]) -> None:
    assert moves(speeds, Policy(confirmations=1, cool_down_seconds=0), 60.0) == []
