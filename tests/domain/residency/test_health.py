"""Health checks of a runner, by the requests that it serves and by periodic tokens."""

from __future__ import annotations

import pytest

from models_app.domain.residency.health import (
    FAILURES_ALLOWED,
    STALL_SECONDS,
    Need,
    Seen,
    after_answer,
    after_failure,
    after_success,
)

NOW = 1000.0


@pytest.mark.parametrize(
    ("silent", "moved", "in_flight", "failures", "canary_seconds", "need"),
    [
        (0, False, 0, 0, 15, Need.NOTHING),
        (14, False, 0, 0, 15, Need.NOTHING),
        (15, False, 0, 0, 15, Need.CANARY),  # idle for long
        (1, False, 0, 0, 1, Need.CANARY),
        (0.5, False, 0, 0, 1, Need.NOTHING),
        (0.5, False, 0, 0, 0.5, Need.CANARY),
        (999, True, 0, 0, 15, Need.NOTHING),  # it served a request
        (999, False, 0, 0, 0, Need.NOTHING),  # no canaries
        (STALL_SECONDS, False, 3, 0, 15, Need.NOTHING),  # a long step
        (STALL_SECONDS + 1, False, 3, 0, 15, Need.CANARY),  # too long a step
        (STALL_SECONDS + 1, False, 3, 0, 0, Need.CANARY),
        (999, True, 3, 2, 15, Need.NOTHING),
        (1, False, 0, 1, 15, Need.CANARY),  # it failed the last time
    ],
)
def test_what_a_look_calls_for(
    silent: float, moved: bool, in_flight: int, failures: int, canary_seconds: float, need: Need
) -> None:
    seen = Seen(NOW - silent, 7, failures)
    after, found = after_answer(
        seen, steps=8 if moved else 7, in_flight=in_flight, now=NOW, canary_seconds=canary_seconds
    )
    assert found == need
    assert after == (Seen(NOW, 8) if moved else seen)


def test_the_first_look_believes_what_is_ready() -> None:
    after, need = after_answer(Seen(NOW - 99), steps=0, in_flight=0, now=NOW, canary_seconds=15)
    assert (after, need) == (Seen(NOW, 0), Need.NOTHING)


def test_it_takes_failures_in_a_row_to_be_replaced() -> None:
    seen = Seen(NOW, 7)
    for _ in range(FAILURES_ALLOWED - 1):
        seen, need = after_failure(seen)
        assert need == Need.NOTHING
    assert after_failure(seen)[1] == Need.REPLACE
    assert after_failure(after_success(seen, now=NOW + 1)) == (
        Seen(NOW + 1, 7, 1),
        Need.NOTHING,
    )
