"""The official clients for JavaScript against every kind of model: the second table in docs/clients.md, by cell.

Their packages, pinned by javascript/package-lock.json, are installed outside the tree, once for each lock file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import markdown
from tests.journeys.matrix import CALLER, MODELS
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

SOURCES = Path(__file__).parent / "javascript"
KINDS = {kind: CALLER if kind == "local" else keys[0] for kind, keys in MODELS.items()}
INSTALL_SECONDS, RUN_SECONDS = 60.0, 120.0


def cells() -> list[tuple[str, str]]:
    """The name of each cell, and what it says."""
    heads, *rows = markdown.rows(markdown.page("docs/clients.md").section("JavaScript"))
    return [
        (f"{row[0]} / {row[1]} / {feature}", says)
        for row in rows
        for feature, says in zip(heads[2:], row[2:], strict=True)
    ]


CELLS = cells()


def installed() -> Path:
    """The folder of the packages. Skips the test where npm or its registry is not available."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "noa-javascript-clients" / digest
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.iterdir():
        shutil.copy(source, folder)
    done = folder / "installed"
    if not done.exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install the packages in time")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"npm cannot install the packages: {error.stderr[-500:]}")
        done.touch()
    return folder


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, str]:
    folder = installed()
    server: NoaServer = request.getfixturevalue("matrix_server")
    place = json.dumps({"url": server.url, "key": server.api_key, "models": KINDS})
    ran = subprocess.run(
        ["node", "check.mjs", place], cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, str] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize(("cell", "says"), CELLS, ids=[name.replace("`", "") for name, _ in CELLS])
def test_the_cell_says_what_happens(cell: str, says: str, outcomes: dict[str, str]) -> None:
    assert outcomes[cell] == says


def test_the_table_has_every_check(outcomes: dict[str, str]) -> None:
    assert sorted(outcomes) == sorted(name for name, _ in CELLS)
