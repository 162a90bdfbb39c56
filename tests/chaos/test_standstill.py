"""A machine that stands still, and one whose clock is set, keep their models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.chaos import standstill
from tests.chaos.conftest import Figures
from tests.chaos.standstill import BOUND_SECONDS, Shape
from tests.servers import stepped_clock

pytestmark = [
    pytest.mark.journey,
    pytest.mark.llama,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(stepped_clock.why_not()), reason=stepped_clock.why_not() or "clocks can be set"),
]

Open = Callable[[Path], AbstractContextManager[Shape]]


@pytest.mark.parametrize("opened", [standstill.embedded, standstill.two_nodes], ids=["embedded", "two nodes"])
def test_a_standstill_and_a_step_of_the_clock_take_no_model_away(
    opened: Open, tmp_path: Path, figures: Figures, times: Callable[[int, int], int]
) -> None:
    with opened(tmp_path) as shape:
        pauses = standstill.pauses(shape, times(min(3, len(shape.scopes())), 100))
        steps = standstill.steps(shape, times(3, 20))
    for name, report in (("pauses", pauses), ("steps", steps)):
        figures.record(f"standstill_{name}_away", max(report.away), bound=BOUND_SECONDS, count=len(report.away))
        assert max(report.away) <= BOUND_SECONDS, report.as_dict()
        assert report.double_loads == 0, report.as_dict()
        assert report.deaths == [], report.as_dict()
        assert set(report.endings) <= {"done", "error event"}, report.as_dict()
