"""Fixtures for every floor."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before Django reads its settings: tests never touch the data of a server of this work tree.
_data = tempfile.TemporaryDirectory(prefix="noa-test-")
os.environ["NOA_DATA_DIR"] = _data.name

FAKE_RUNNER = Path(__file__).parent / "fakes" / "runner.py"


def fake_runner(behaviour: str = "good") -> list[str]:
    """The command of a runner without a model; see tests/fakes/runner.py for the behaviours."""
    return [sys.executable, str(FAKE_RUNNER), "--behaviour", behaviour]


@pytest.fixture(scope="session", autouse=True)
def data_folder() -> Iterator[Path]:
    yield Path(_data.name)
    _data.cleanup()
