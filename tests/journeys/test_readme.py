"""The commands of the documentation, executed: every curl, every `noa`, every Python program, page by page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import markdown
from tests.fakes.openai_server import FakeOpenAI
from tests.journeys.server import NoaServer
from tests.markdown import ROOT, Block, Page

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

DEFAULT_URL = "http://127.0.0.1:8000"
EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"
PAGES = [page for page in markdown.pages() if page.name == "README.md" or "docs" in page.path.parts]
OLLAMA_URL = "http://127.0.0.1:11434/v1"
NOA = f"{sys.executable} -m models_app.cli.main"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_openai: FakeOpenAI) -> Iterator[NoaServer]:
    """A separate server, as the pages change much. `openai` is a fake on this machine."""
    openai = {
        "slug": "openai",
        "kind": "openai",
        "base_url": shared_openai.base_url,
        "api_key": shared_openai.key,
        "allow_private_addresses": True,
    }
    running = NoaServer(tmp_path_factory.mktemp("pages") / "data", {"NOA_PROVIDERS": json.dumps([openai])}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def keyless() -> Iterator[FakeOpenAI]:
    """A server that needs no key, like Ollama."""
    with FakeOpenAI(key="") as fake:
        yield fake


@pytest.fixture
def as_after_the_first_start(server: NoaServer) -> NoaServer:
    """The state before every page: Ember is the target of `current`, and the only loaded model."""
    _, current = server.api("GET", "/api/v1/models/current")
    if current["model"] is None or current["model"]["key"] != EMBER:
        status, job = server.api("POST", "/api/v1/models/switch?wait=60", {"key": EMBER})
        assert status == 200, (job, server.text)
    _, loaded = server.api("GET", "/api/v1/models/loaded")
    if TIDE in [instance["key"] for instance in loaded["instances"]]:
        assert server.api("POST", "/api/v1/models/unload?wait=60", {"key": TIDE})[0] == 200
    return server


def steps(page: Page) -> list[list[str]]:
    """The executable blocks, in the order of the page."""
    found: list[list[str]] = []
    for block in page.blocks("sh", "python"):
        if block.language == "python":
            found.append([sys.executable, "-c", block.text])
        else:
            found += [["bash", "-c", command] for command in _runnable(block)]
    return found


def _runnable(block: Block) -> list[str]:
    commands = []
    for line in block.commands():
        if line.startswith("curl "):
            commands.append("curl --silent --show-error --fail-with-body" + line[4:])
        elif line.startswith("noa "):
            commands.append(NOA + line[3:])
    return commands


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page)], ids=lambda page: page.name)
def test_what_the_page_shows_works(
    page: Page, as_after_the_first_start: NoaServer, keyless: FakeOpenAI, tmp_path: Path
) -> None:
    assert shutil.which("curl"), "curl is needed to try what the documentation shows"
    server = as_after_the_first_start
    own = os.environ | {"NOA_URL": server.url, "NOA_API_KEY": server.api_key}
    for command in steps(page):
        done = subprocess.run(
            [word.replace(DEFAULT_URL, server.url).replace(OLLAMA_URL, keyless.base_url) for word in command],
            cwd=tmp_path,
            env=own,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip() or " -o " in command[-1], command[-1]


def test_after_the_readme_the_other_model_answers(as_after_the_first_start: NoaServer) -> None:
    server = as_after_the_first_start
    answers = [
        subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"NOA_URL": server.url, "NOA_API_KEY": server.api_key},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=True,
        ).stdout
        for command in steps(markdown.page("README.md"))
        if command[-1].startswith(NOA)
    ]
    assert "'current' leads to llama.cpp:noa-demo-tide now" in answers[0]
    assert "Tide" in answers[-1]
