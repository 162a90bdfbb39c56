"""How much the end of a runner counts against the requests that were in it."""

from __future__ import annotations

import pytest

from models_app.domain.residency.suspects import CRASHES, End, is_crash, refusal, refused_until, weight

CRASH = "The runner was killed by SIGSEGV. Its last lines:\n"
FROM_OUTSIDE = "The runner was killed by SIGKILL. Its last lines:\n"
HUNG = "It does not answer. Its last lines:\n"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (End(CRASH), 1),
        (End(FROM_OUTSIDE), 0),
        (End("The runner was killed by SIGTERM."), 0),
        (End("The runner exited with code 70."), 1),
        (End("The runner exited with code 0."), 0),
        # Held from outside while it was watched: stopped, in a debugger, swapping.
        (End(HUNG), 0),
        # Nothing tells which of its requests made it hang.
        (End(HUNG, []), 1),
        (End(HUNG, ["mine"]), CRASHES),
        (End(HUNG, ["other", "mine"]), CRASHES),
        (End(HUNG, ["other"]), 0),
    ],
    ids=repr,
)
def test_an_end_counts_against_a_request_by_its_cause(end: End, expected: int) -> None:
    assert weight(end, "mine") == expected


def test_the_runners_log_is_no_cause() -> None:
    log = "a client wrote: was killed by SIGSEGV, exited with code 1"
    assert not is_crash(FROM_OUTSIDE + log)
    assert not is_crash(HUNG + log)


@pytest.mark.parametrize(
    ("crashes", "until"),
    [
        ([], None),
        ([100.0], None),
        ([100.0, 200.0], 3800.0),
        ([200.0, 100.0], 3800.0),
        ([300.0, 100.0, 200.0], 3900.0),
    ],
)
def test_a_request_that_crashed_runners_twice_is_refused_for_an_hour(crashes: list[float], until: float | None) -> None:
    assert refused_until(iter(crashes)) == until


def test_the_refusal_names_the_model_and_says_what_to_do() -> None:
    error = refusal("llama.cpp:a")
    assert (error.http_status, error.code) == (422, "request_crashes_runner")
    assert error.message == (
        "This request is refused: the runner of 'llama.cpp:a' crashed or hung while it processed it. Change the "
        "request, or try it again in an hour; the model's events list what happened."
    )


@pytest.mark.parametrize(
    ("reason", "crashed"),
    [
        ("The runner was killed by SIGSEGV.", True),
        ("The runner was killed by SIGABRT. Its last lines:\n", True),
        ("The runner was killed by SIGINT.", False),
        ("The runner was killed by SIGHUP.", False),
        ("The runner exited with code 1.", True),
        ("The runner exited with code 0. Its last lines:\nexited with code 1", False),
        ("The runner exited with code 10.", True),
        ("", False),
    ],
)
def test_a_crash_is_a_signal_or_an_error_code_of_the_runner_itself(reason: str, crashed: bool) -> None:
    assert is_crash(reason) is crashed
