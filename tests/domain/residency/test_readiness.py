"""What the states of parts mean for `/readyz`."""

from __future__ import annotations

import pytest

from models_app.domain.residency.readiness import OK, PartReport, PartState, failed


@pytest.mark.parametrize(
    ("state", "is_ok", "would_answer"),
    [
        (PartState.OK, True, True),
        (PartState.COLD, True, True),
        (PartState.RECOVERING, True, True),
        (PartState.UNSET, True, False),
        (PartState.FAILED, False, False),
    ],
)
def test_what_a_state_means(state: PartState, is_ok: bool, would_answer: bool) -> None:
    report = PartReport(state)
    assert (report.is_ok, report.would_answer) == (is_ok, would_answer)


def test_a_reason_is_a_failure() -> None:
    assert failed("The database does not answer.") == PartReport(PartState.FAILED, "The database does not answer.")
    assert failed("") == OK == PartReport(PartState.OK, "")
