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
        # Moved before the clock was set back.
        ([rival()], Standing("b", 9, moved_at=86_400), "better", "b"),
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


def test_the_curves_are_one_half_at_their_reference() -> None:
    for name, reference in {"ttft_ms": 500, "e2el_ms": 5000, "tokens_per_second": 20}.items():
        assert autoswitch.score(Evidence(1, {name: reference}), {name: 3}) == 0.5
    assert autoswitch.score(Evidence(1, {"success_rate": 0.75}), {"success_rate": 1}) == 0.75
    assert autoswitch.score(Evidence(1, {"tokens_per_second": 60}), {"tokens_per_second": 1}) == 0.75
    assert autoswitch.score(Evidence(1, {"ttft_ms": 1500}), {"ttft_ms": 1}) == 0.25


@pytest.mark.parametrize(
    ("figures", "weights", "score"),
    [
        ({"success_rate": 0.5, "ttft_ms": 500.0}, {"success_rate": 3, "ttft_ms": 1}, 0.5),
        ({"success_rate": 1.0, "ttft_ms": 500.0}, {"success_rate": 3, "ttft_ms": 1}, 0.875),
        ({"success_rate": 1.0}, {"success_rate": 1, "ttft_ms": 0}, 1.0),
        ({"success_rate": 0.0}, {"success_rate": 0.5}, 0.0),
        ({"success_rate": 1.0, "ttft_ms": None}, {"success_rate": 1, "ttft_ms": 1}, None),
        ({"success_rate": 1.0}, {"success_rate": 1, "ttft_ms": 0.5}, None),
        ({"success_rate": 1.0}, {"success_rate": 0}, None),
        ({"success_rate": 1.0}, {}, None),
    ],
)
def test_a_score_is_the_weighted_mean_of_what_has_a_weight(
    figures: dict[str, float | None], weights: dict[str, float], score: float | None
) -> None:
    assert autoswitch.score(Evidence(1, figures), weights) == score


def by_success(key: str, rate: float, present: float = 0.5, requests: int = 30, others: int = 40) -> Rival:
    return Rival(
        key, "traffic", Evidence(requests, {"success_rate": rate}), Evidence(others, {"success_rate": present})
    )


SUCCESS = Policy(weights={"success_rate": 1}, threshold=0.25, confirmations=2, cool_down_seconds=100, min_requests=30)


def by_rates(standing: Standing, *rivals: Rival, now: float = 1000.0) -> Decision:
    return autoswitch.decide("a", rivals, policy=SUCCESS, standing=standing, now=now)


@pytest.mark.parametrize(
    ("standing", "rivals", "expected"),
    [
        (
            Standing("b", 1, 7.0),
            [],
            (False, "a", "no_rival", "No other loaded model has the capability.", Standing(moved_at=7.0)),
        ),
        (
            Standing("b", 1, 7.0),
            [by_success("b", 1.0, requests=29)],
            (
                False,
                "a",
                "not_enough_data",
                "No rival was measured on the same basis as the present model with enough requests.",
                Standing(moved_at=7.0),
            ),
        ),
        (
            Standing("b", 1, 7.0),
            [by_success("b", 0.6), by_success("c", 0.55)],
            (False, "a", "below_threshold", "No rival leads by 25%; b by 20.0%.", Standing(moved_at=7.0)),
        ),
        (
            Standing("c", 5, 7.0),
            [by_success("b", 0.625)],
            (False, "a", "unconfirmed", "b leads by 25.0%, in 1 of 2 decisions in a row.", Standing("b", 1, 7.0)),
        ),
        (
            Standing("b", 1, 940.0),
            [by_success("b", 1.0)],
            (
                False,
                "a",
                "cool_down",
                "b leads by 100.0%, but the route moved recently: 40 s of the cool-down are left.",
                Standing("b", 2, 940.0),
            ),
        ),
        (
            Standing("b", 1, 900.0),
            [by_success("b", 1.0)],
            (True, "b", "better", "b leads by 100.0%.", Standing(moved_at=1000.0)),
        ),
        (
            Standing("b", 1),
            [by_success("b", 1.0)],
            (True, "b", "better", "b leads by 100.0%.", Standing(moved_at=1000.0)),
        ),
        # The largest lead counts, then the name.
        (
            Standing("c", 1),
            [by_success("b", 0.75), by_success("c", 1.0), by_success("d", 0.8)],
            (True, "c", "better", "c leads by 100.0%.", Standing(moved_at=1000.0)),
        ),
        (
            Standing("c", 1),
            [by_success("c", 1.0), by_success("b", 1.0)],
            (True, "c", "better", "c leads by 100.0%.", Standing(moved_at=1000.0)),
        ),
    ],
)
def test_a_decision_in_full(standing: Standing, rivals: list[Rival], expected: tuple[object, ...]) -> None:
    made = by_rates(standing, *rivals)
    assert (made.move, made.to, made.reason, made.why, made.standing) == expected
    assert [scored["key"] for scored in made.scores] == [rival.key for rival in rivals]


def test_the_scores_of_both_models_are_reported() -> None:
    made = by_rates(
        Standing(), by_success("b", 0.123456), by_success("c", 1.0, requests=29), by_success("d", 1.0, others=29)
    )
    first = {
        "key": "b",
        "basis": "traffic",
        "score": 0.1235,
        "present_score": 0.5,
        "lead": 0.123456 / 0.5 - 1,
        "requests": 30,
        "present_requests": 40,
        "figures": {"success_rate": 0.123456},
        "present_figures": {"success_rate": 0.5},
    }
    few = first | {"score": None, "present_score": None, "lead": None, "figures": {"success_rate": 1.0}}
    assert made.scores == [
        first,
        few | {"key": "c", "requests": 29},
        few | {"key": "d", "present_requests": 29},
    ]
    assert made.represent()["scores"] == made.scores
    assert made.represent()["standing"] == {"leader": "", "looks": 0, "moved_at": None}


def test_a_rival_of_a_model_without_a_score_has_no_lead() -> None:
    for present in (0.0, None):
        rival = Rival("b", "traffic", Evidence(30, {"success_rate": 1.0}), Evidence(30, {"success_rate": present}))
        assert by_rates(Standing("b", 1), rival).reason == "not_enough_data"
    unmeasured = Rival("b", "traffic", Evidence(30, {}), Evidence(30, {"success_rate": 1.0}))
    made = by_rates(Standing("b", 1), unmeasured)
    assert (made.reason, made.scores[0]["score"], made.scores[0]["present_score"]) == ("not_enough_data", None, 1.0)
