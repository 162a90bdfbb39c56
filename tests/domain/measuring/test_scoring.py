"""The score by which models are ranked."""

from __future__ import annotations

import pytest

from models_app.domain.measuring.scoring import score


@pytest.mark.parametrize(
    ("success_rate", "tokens_per_second", "inferences", "expected"),
    [
        (0.99, 45.0, 100, 0.561),
        (0.95, 80.0, 200, 0.680),
        (1.0, 100.0, 1000, 1.0),
        (1.0, 5000.0, 10**9, 1.0),
        (0.0, 0.0, 1, 0.0003),
        (0.5, 0.0, 0, 0.2),
    ],
)
def test_it_weighs_answers_speed_and_experience(
    success_rate: float, tokens_per_second: float, inferences: int, expected: float
) -> None:
    found = score(success_rate=success_rate, tokens_per_second=tokens_per_second, inferences=inferences)
    assert found == pytest.approx(expected)
