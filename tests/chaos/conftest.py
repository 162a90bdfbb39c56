"""Tests that inject faults under load: a few times in `make test`, at full length in `make chaos`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.conftest import own_server
from tests.markdown import ROOT
from tests.servers.stack import Stack

__all__ = ["own_server"]

IS_FULL = os.environ.get("CHAOS") == "full"
# A full run has no time limit.
_FULL_SECONDS = 3600
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            if IS_FULL:
                item.add_marker(pytest.mark.timeout(_FULL_SECONDS), append=False)


@dataclass(frozen=True)
class Figures:
    """Appends measurements to a file, one JSON object a line. Nothing is asserted: machines differ."""

    path: Path
    test: str

    def record(self, name: str, value: float, *, bound: float, count: int, unit: str = "s") -> None:
        """`bound` is the maximum of `value`; `count` is the number of tries behind it."""
        figure = {
            "name": name,
            "value": round(value, 4),
            "unit": unit,
            "bound": bound,
            "within": value <= bound,
            "count": count,
            "full": IS_FULL,
            "test": self.test,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(figure) + "\n")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(ROOT / "benchmarks" / "results" / "chaos.jsonl", request.node.nodeid)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """NOA as in production. A test that stops a part starts it again."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def times() -> Callable[[int, int], int]:
    """`times(small, full)`: the number of repetitions in this run."""
    return lambda small, full: full if IS_FULL else small
