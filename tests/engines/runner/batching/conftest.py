"""Models for the decode thread, whose every token depends on all before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.runner.batching.rig import Rig, rig
from tests.fakes import gguf_files


@pytest.fixture(scope="session")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real attention: a token that leaks from one sequence into another changes the output."""
    path = tmp_path_factory.mktemp("models") / "random.gguf"
    return gguf_files.write_random_gguf(path, megabytes=3, layers=2, embedding=128, heads=4)


@pytest.fixture
def noise(random_file: Path) -> Iterator[Rig]:
    with rig(random_file) as running:
        yield running


@pytest.fixture(scope="session")
def heavy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "heavy.gguf"
    return gguf_files.write_random_gguf(path, megabytes=30, layers=4, embedding=256, heads=8)


@pytest.fixture
def heavy(heavy_file: Path) -> Iterator[Rig]:
    """Slow enough that a long prompt takes several steps."""
    with rig(heavy_file, n_ctx=2048, slots=2, n_batch=512) as running:
        yield running
