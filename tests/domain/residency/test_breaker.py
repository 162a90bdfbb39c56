"""The circuit breaker as tables of timed events and the resulting admissions."""

from __future__ import annotations

import pytest

from models_app.domain.residency.breaker import Breaker, BreakerPolicy, RetryBudget

POLICY = BreakerPolicy(min_failures=3, failure_ratio=0.5, window=10, first_pause=4, max_pause=10, rejected_pause=30)

# (seconds, event, state after it); `admit` sends a request, and `admit=n` expects a wait of n seconds; `failed=x` is a
# failure of the source x.
STORIES: dict[str, list[tuple[float, str, str]]] = {
    "three failures open it": [
        (0, "failed", "closed"),
        (1, "failed", "closed"),
        (2, "failed", "open"),
        (3, "admit=3", "open"),
    ],
    "failures among many successes do not": [
        *[(0.1 * n, "succeeded", "closed") for n in range(10)],
        *[(2 + 0.1 * n, "failed", "closed") for n in range(9)],
        (3, "failed", "open"),
    ],
    "old failures are forgotten": [
        (0, "failed", "closed"),
        (1, "failed", "closed"),
        (20, "failed", "closed"),
        (21, "failed", "closed"),
        (22, "failed", "open"),
    ],
    "failures of one source count once": [
        *[(0.1 * n, "failed=a", "closed") for n in range(20)],
        (3, "failed=b", "closed"),
        (3, "failed=b", "closed"),
        (3, "failed=c", "open"),
    ],
    "also if they are in both halves of the window": [
        (0, "failed=a", "closed"),
        (0, "failed=b", "closed"),
        (6, "failed=a", "closed"),
        (6, "failed=b", "closed"),
        (6, "failed=c", "open"),
    ],
    "failures with and without a source add up": [
        (0, "failed=a", "closed"),
        (0, "failed", "closed"),
        (0, "failed", "open"),
    ],
    "failures of one source among successes do not open it": [
        *[(0.1 * n, "succeeded", "closed") for n in range(3)],
        *[(1, f"failed={n % 2}", "closed") for n in range(9)],
    ],
    "one probe passes after the pause, and its success closes it": [
        *[(0, "failed", "closed"), (0, "failed", "closed"), (0, "failed", "open")],
        (3.9, "admit=0.1", "open"),
        (4, "admit=0", "half_open"),
        (4.5, "admit=1", "half_open"),
        (5, "succeeded", "closed"),
        (5, "admit=0", "closed"),
        (5, "failed", "closed"),
    ],
    "a failed probe doubles the pause, up to the longest": [
        *[(0, "failed", "closed"), (0, "failed", "closed"), (0, "failed", "open")],
        (4, "admit=0", "half_open"),
        (4, "failed", "open"),
        (5, "admit=7", "open"),
        (12, "admit=0", "half_open"),
        (12, "failed", "open"),
        (12, "admit=10", "open"),
    ],
    "a probe whose client left makes room for another": [
        *[(0, "failed", "closed"), (0, "failed", "closed"), (0, "failed", "open")],
        (4, "admit=0", "half_open"),
        (5, "abandoned", "half_open"),
        (5, "admit=0", "half_open"),
        (6, "succeeded", "closed"),
    ],
    "refused credentials open it at once, for longer": [
        (0, "rejected", "open"),
        (1, "admit=29", "open"),
        (30, "admit=0", "half_open"),
        (30, "succeeded", "closed"),
    ],
    "failures of almost a whole window ago still count": [
        (0, "failed", "closed"),
        (0, "failed", "closed"),
        (9.9, "failed", "open"),
    ],
    "those of a whole window ago do not": [
        (0, "failed", "closed"),
        (0, "failed", "closed"),
        (10, "failed", "closed"),
    ],
    "failures before and after the middle of the window add up": [
        (0, "failed", "closed"),
        (4.9, "failed", "closed"),
        (5, "failed", "open"),
    ],
    "the second half of a window begins at its middle": [
        (0, "failed", "closed"),
        (5, "failed", "closed"),
        (12, "failed", "closed"),
        (12, "failed", "open"),
    ],
    "successes before the middle of the window count too": [
        *[(0, "succeeded", "closed") for _ in range(4)],
        *[(5, "failed", "closed") for _ in range(3)],
        (5, "failed", "open"),
    ],
    "as many failures as successes open it": [
        *[(0, "succeeded", "closed") for _ in range(3)],
        *[(1, "failed", "closed"), (1, "failed", "closed"), (1, "failed", "open")],
    ],
    "after a success the pause is the first one again, and earlier failures are forgotten": [
        *[(0, "failed", "closed"), (0, "failed", "closed"), (0, "failed", "open")],
        *[(4, "admit=0", "half_open"), (4, "failed", "open")],
        *[(12, "admit=0", "half_open"), (12, "succeeded", "closed")],
        *[(12, "failed", "closed"), (12, "failed", "closed"), (12, "failed", "open")],
        (13, "admit=3", "open"),
    ],
    "failures before refused credentials are forgotten": [
        *[(0, "failed", "closed"), (0, "failed", "closed"), (0, "rejected", "open")],
        *[(30, "admit=0", "half_open"), (30, "succeeded", "closed")],
        *[(30, "failed", "closed"), (30, "failed", "closed"), (30, "failed", "open")],
    ],
    "a second probe can be refused, and fails for as long": [
        *[(0, "rejected", "open"), (30, "admit=0", "half_open"), (30, "rejected", "open")],
        (31, "admit=29", "open"),
        (60, "admit=0", "half_open"),
        (60, "failed", "open"),
        (60, "admit=8", "open"),
    ],
    "late news of earlier requests change nothing": [
        (0, "rejected", "open"),
        (1, "succeeded", "open"),
        (1, "failed", "open"),
        (1, "admit=29", "open"),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_it_opens_and_closes(story: list[tuple[float, str, str]]) -> None:
    breaker = Breaker(POLICY)
    for now, happened, state in story:
        word, _, wait = happened.partition("=")  # or, of a failure, its source
        if word == "admit":
            before = breaker.wait(now)
            assert breaker.admit(now) == pytest.approx(float(wait)), (now, happened)
            assert before in (pytest.approx(float(wait)), 0.0), (now, happened)
        elif word == "abandoned":
            breaker.abandoned()
        elif word == "succeeded":
            breaker.succeeded(now)
        elif word == "failed":
            breaker.failed(now, f"{word} at {now}", wait or None)
        else:
            breaker.rejected(now, f"{word} at {now}")
        assert breaker.state == state, (now, happened)


def test_it_says_why_it_is_open() -> None:
    breaker = Breaker(POLICY)
    breaker.rejected(0, "the API key is not accepted")
    assert breaker.reason == "the API key is not accepted"
    breaker.admit(30)
    breaker.succeeded(30)
    assert breaker.reason == ""


def test_the_last_failure_is_the_reason() -> None:
    breaker = Breaker(POLICY)
    for word in ("first", "second", "third"):
        assert breaker.reason == ""
        breaker.failed(0, word)
    assert breaker.reason == "third"
    breaker.admit(4)
    breaker.failed(4, "fourth")
    assert breaker.reason == "fourth"


def test_the_wait_of_an_open_circuit_is_known_without_a_request() -> None:
    breaker = Breaker(POLICY)
    assert breaker.wait(0) == 0.0
    breaker.rejected(0, "")
    assert [breaker.wait(now) for now in (0, 29.5, 30, 99)] == [30, 0.5, 0.0, 0.0]
    assert breaker.state == "open"
    breaker.admit(30)
    assert breaker.wait(29) == 0.0
    breaker.succeeded(30)
    assert breaker.wait(29) == 0.0


def test_a_retry_costs_ten_requests_after_the_burst() -> None:
    budget = RetryBudget()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("requests", "most"), [(1, 1), (5, 2), (20, 4), (100, 12), (1000, 102)])
def test_retries_are_a_tenth_of_the_requests_and_a_small_burst(requests: int, most: int) -> None:
    budget = RetryBudget()
    spent = 0
    for _ in range(requests):
        budget.earn()
        spent += budget.spend()
    assert 1 <= spent <= most


def test_a_quiet_time_saves_no_more_than_the_burst() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(4)] == [True, True, False, False]
