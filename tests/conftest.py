"""What every floor's tests share."""

from __future__ import annotations

import sys
from pathlib import Path

FAKE_RUNNER = Path(__file__).parent / "fakes" / "runner.py"


def fake_runner(behaviour: str = "good") -> list[str]:
    """The command of a runner without a model; see tests/fakes/runner.py for the behaviours."""
    return [sys.executable, str(FAKE_RUNNER), "--behaviour", behaviour]
