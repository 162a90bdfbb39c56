"""How much the end of a runner counts against the requests that were in it."""

from __future__ import annotations

import pytest

from models_app.domain.residency.suspects import CRASHES, End, is_crash, weight

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
