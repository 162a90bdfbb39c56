from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.cli.fake_noa import KEY, FakeNoa, RunningFake

COMMAND = [sys.executable, "-m", "models_app.cli.main"]

Noa = Callable[..., "Ended"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


def environment(url: str, key: str | None = KEY) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOA_")}
    return clean | {"NOA_URL": url} | ({"NOA_API_KEY": key} if key else {})


@pytest.fixture
def fake() -> Iterator[FakeNoa]:
    with RunningFake() as noa:
        yield noa


@pytest.fixture
def noa(fake: FakeNoa) -> Noa:
    """Runs `noa` with these arguments as a process, against the fake."""

    def run(*arguments: str, stdin: str = "", url: str = "", key: str | None = KEY) -> Ended:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(url or fake.url, key),
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
