from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models_app.gateway.http.request_body import Limits
from tests.fakes.upstream import DEADLINE, FakeUpstream
from tests.gateway.model_loader import FakeModelLoader
from tests.gateway.wire import Served, serve, snapshot


@pytest.fixture(scope="session")
def sockets() -> Iterator[Path]:
    """A folder with a short name: the path of a unix socket holds 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="noa-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_upstream(sockets: Path) -> Iterator[FakeUpstream]:
    with FakeUpstream(str(sockets / "runner.sock")) as fake:
        yield fake


@pytest.fixture(scope="session")
def shared_gateway(shared_upstream: FakeUpstream) -> Iterator[Served]:
    with serve(shared_upstream.path) as served:
        yield served


@pytest.fixture
def upstream(shared_upstream: FakeUpstream) -> FakeUpstream:
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture
def gateway(shared_gateway: Served, upstream: FakeUpstream) -> Served:
    """A gateway with default limits in front of `upstream`, in its initial state."""
    shared_gateway.source.current = snapshot(upstream.path)
    shared_gateway.source.next = None
    shared_gateway.source.reasons.clear()
    shared_gateway.gateway._refusals.clear()
    return shared_gateway


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as threads:
        yield threads


@pytest.fixture
def loader() -> FakeModelLoader:
    return FakeModelLoader()


@pytest.fixture
def served(upstream: FakeUpstream, loader: FakeModelLoader) -> Iterator[Served]:
    """A gateway for this test alone, whose requests wait for cold models."""
    with serve(upstream.path, limits=Limits(wait_seconds=DEADLINE), loader=loader) as running:
        yield running
