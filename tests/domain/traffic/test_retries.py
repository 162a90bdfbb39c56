"""The retry rules: every row of their table, and the invariants of every sequence of failures."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.traffic import retries
from models_app.domain.traffic.retries import ROWS, Decision, Failure, Row, Situation, decide, row_of

AGAIN, WAIT, FALLBACK, ANSWER = Decision.AGAIN, Decision.WAIT, Decision.FALLBACK, Decision.ANSWER
SEARCHING = (Failure.UNKNOWN, Failure.COLD, Failure.NOT_BEGUN, Failure.RUNNER_DIED)

# One case or more for each row, in the order of the table: the number of the row, the situation, the decision.
CASES = [
    (0, Situation(Failure.RUNNER_DIED, started=True, time_left=9.0, has_fallbacks=True), ANSWER),
    (0, Situation(Failure.TRANSIENT, started=True, has_fallbacks=True), ANSWER),
    (1, Situation(Failure.FINAL, has_fallbacks=True), ANSWER),
    (2, Situation(Failure.UNKNOWN, time_left=9.0), WAIT),
    (3, Situation(Failure.UNKNOWN), AGAIN),
    (3, Situation(Failure.UNKNOWN, time_left=9.0, has_fallbacks=True), AGAIN),
    (4, Situation(Failure.COLD, time_left=9.0), WAIT),
    (4, Situation(Failure.COLD, failures=7, time_left=0.1), WAIT),
    (5, Situation(Failure.COLD), AGAIN),
    (5, Situation(Failure.COLD, time_left=9.0, has_fallbacks=True), AGAIN),
    (6, Situation(Failure.NOT_BEGUN, time_left=9.0), WAIT),
    (6, Situation(Failure.NOT_BEGUN, failures=7, deaths=1, time_left=0.1), WAIT),
    (7, Situation(Failure.NOT_BEGUN), AGAIN),
    (7, Situation(Failure.NOT_BEGUN, has_fallbacks=True), AGAIN),
    (8, Situation(Failure.RUNNER_DIED, deaths=1, time_left=9.0), WAIT),
    (8, Situation(Failure.RUNNER_DIED, failures=3, deaths=1, time_left=9.0), WAIT),
    (9, Situation(Failure.RUNNER_DIED, deaths=1), AGAIN),
    (10, Situation(Failure.PROVIDER_IDLE), AGAIN),
    (10, Situation(Failure.PROVIDER_IDLE, has_fallbacks=True), AGAIN),
    (11, Situation(Failure.UNKNOWN, failures=2, has_fallbacks=True), FALLBACK),
    (11, Situation(Failure.COLD, failures=2, time_left=9.0, has_fallbacks=True), FALLBACK),
    (11, Situation(Failure.NOT_BEGUN, failures=2, has_fallbacks=True), FALLBACK),
    (11, Situation(Failure.RUNNER_DIED, failures=2, deaths=2, has_fallbacks=True), FALLBACK),
    (11, Situation(Failure.TRANSIENT, has_fallbacks=True), FALLBACK),
    (12, Situation(Failure.UNKNOWN, failures=2, time_left=9.0), ANSWER),
    (12, Situation(Failure.COLD, failures=2), ANSWER),
    (12, Situation(Failure.NOT_BEGUN, failures=2), ANSWER),
    (12, Situation(Failure.RUNNER_DIED, failures=2, deaths=2, time_left=9.0), ANSWER),
    (12, Situation(Failure.PROVIDER_IDLE, failures=2), ANSWER),
    (12, Situation(Failure.TRANSIENT, time_left=9.0), ANSWER),
]


@pytest.fixture(autouse=True)
def uncached() -> None:
    """Each test finds its rows itself, and not those that another test found."""
    retries._row.cache_clear()


@pytest.mark.parametrize(("number", "situation", "decision"), CASES)
def test_each_row_decides(number: int, situation: Situation, decision: Decision) -> None:
    assert ROWS.index(row_of(situation)) == number
    assert decide(situation) is decision


def test_every_row_has_a_case() -> None:
    assert {number for number, *_ in CASES} == set(range(len(ROWS)))


def test_no_row_is_hidden_by_those_before_it() -> None:
    situations = (
        Situation(failure, started, failures, deaths, time_left, has_fallbacks)
        for failure, started, failures, deaths, time_left, has_fallbacks in product(
            Failure, (False, True), (1, 2), (0, 1, 2), (0.0, 1.0), (False, True)
        )
    )
    assert {row_of(situation) for situation in situations} == set(ROWS)


situations = st.builds(
    Situation,
    failure=st.sampled_from(Failure),
    started=st.booleans(),
    failures=st.integers(1, 50),
    deaths=st.integers(0, 3),
    time_left=st.floats(-10, 10),
    has_fallbacks=st.booleans(),
)


@given(situations)
def test_one_decision_keeps_the_invariants(situation: Situation) -> None:
    decision = decide(situation)
    repeats = decision in (AGAIN, WAIT)
    if situation.started or situation.failure is Failure.FINAL:
        assert decision is ANSWER
    if repeats and situation.failure is Failure.RUNNER_DIED:
        assert situation.deaths <= 1
    if repeats and situation.time_left <= 0:
        assert situation.failures == 1, "after the deadline there is one refresh, and no more"
    if decision is WAIT:
        assert situation.time_left > 0
        assert not situation.has_fallbacks, "another model can answer at once"
    if decision is FALLBACK:
        assert situation.has_fallbacks
    elif situation.has_fallbacks and not situation.started:
        assert repeats or situation.failure is Failure.FINAL, "a fallback is not left untried"


@given(
    st.lists(st.tuples(st.sampled_from(Failure), st.floats(0, 3)), max_size=60),
    st.sampled_from([0.0, 5.0, 30.0]),
    st.booleans(),
)
def test_a_sequence_of_failures_keeps_the_invariants(
    failures: list[tuple[Failure, float]], patience: float, has_fallbacks: bool
) -> None:
    """`failures` with the seconds before each."""
    now, deaths, repeats_after_death = 0.0, 0, 0
    for number, (failure, seconds) in enumerate(failures, 1):
        now += seconds
        deaths += failure is Failure.RUNNER_DIED
        situation = Situation(failure, False, number, deaths, patience - now, has_fallbacks)
        decision = decide(situation)
        if decision in (FALLBACK, ANSWER):
            break
        repeats_after_death += failure is Failure.RUNNER_DIED
        assert now < patience or number == 1
        if failure is Failure.NOT_BEGUN and now < patience and not has_fallbacks:
            # It does not count: the same failure has the same decision as if it were the first.
            first = Situation(failure, False, 1, deaths, patience - now, has_fallbacks)
            assert decide(first) is decision
    assert repeats_after_death <= 1
    assert deaths <= 2, "no request reaches a third runner after two died of it"


@pytest.mark.parametrize(
    ("conditions", "facts", "matches"),
    [
        (("*", "*"), ("yes", "no"), True),
        (("yes", "*"), ("yes", "no"), True),
        (("yes", "no"), ("yes", "no"), True),
        (("no", "*"), ("yes", "no"), False),
        (("*", "yes"), ("yes", "no"), False),
    ],
)
def test_a_row_matches_when_all_its_conditions_do(
    conditions: tuple[str, ...], facts: tuple[str, ...], matches: bool
) -> None:
    assert Row(conditions, ANSWER).matches(facts) is matches


def test_a_row_and_its_facts_have_the_same_columns() -> None:
    for facts in (("yes",), ("yes", "no", "yes")):
        with pytest.raises(ValueError, match="argument 2"):
            Row(("*", "*"), ANSWER).matches(facts)


def test_the_table_is_read_line_by_line() -> None:
    table = """
failure  started  decision
final    *        answer
*        no       wait
"""
    assert retries._rows(table) == (Row(("final", "*"), ANSWER), Row(("*", "no"), WAIT))
    assert retries._rows(retries.TABLE) == ROWS


@pytest.mark.parametrize(
    ("boundary", "beyond", "decisions"),
    [
        (Situation(Failure.PROVIDER_IDLE, failures=1), Situation(Failure.PROVIDER_IDLE, failures=2), (AGAIN, ANSWER)),
        (Situation(Failure.RUNNER_DIED, deaths=1), Situation(Failure.RUNNER_DIED, deaths=2), (AGAIN, ANSWER)),
        (Situation(Failure.COLD, time_left=1e-9), Situation(Failure.COLD, time_left=0.0), (WAIT, AGAIN)),
        (
            Situation(Failure.COLD, failures=2, time_left=1e-9),
            Situation(Failure.COLD, failures=2, time_left=0.0),
            (WAIT, ANSWER),
        ),
    ],
)
def test_a_decision_changes_at_its_boundary(
    boundary: Situation, beyond: Situation, decisions: tuple[Decision, Decision]
) -> None:
    assert (decide(boundary), decide(beyond)) == decisions
