"""A shared server, and a factory of servers for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys import matrix
from tests.journeys.server import NoaServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """Running, with both demo models registered and one of them loaded."""
    running = NoaServer(tmp_path_factory.mktemp("server") / "data").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def matrix_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """Running, with a loaded model of every kind (see tests/journeys/matrix.py)."""
    with matrix.running(tmp_path_factory.mktemp("matrix")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., NoaServer]]:
    """Starts servers for one test; kills those still running at its end."""
    made: list[NoaServer] = []

    def make(**fields: object) -> NoaServer:
        made.append(NoaServer(**{"data_dir": tmp_path / "data"} | fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.kill()
