"""The package, built from a copy of the checkout, serves from a fresh virtual environment in an empty folder.

The pinned setuptools of this environment builds the wheel, without isolation. The fresh environment does not download
the dependencies again: links give it those of this environment that the wheel declares, with their own dependencies. So
pip's resolver still checks that the declared dependencies are installed, an import of anything else fails, and neither
this environment's editable installation nor the checkout can be imported. With `WHEEL_INDEX=1`, as the workflow sets
it, pip installs the dependencies from its index instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.journeys.server import NoaServer
from tests.markdown import ROOT

INDEX_SECONDS = 900.0
# Without a server too: the other tests of this folder are journeys, and `make test` selects by that mark here.
pytestmark = [pytest.mark.journey, pytest.mark.timeout(INDEX_SECONDS)]

PACKAGES = ("models_app", "noa_site")
SOURCES = (*PACKAGES, "templates", "requirements", "docs", "tests")
GENERATED = shutil.ignore_patterns("__pycache__", "*.pyc")
CHAT = {"model": "current", "messages": [{"role": "user", "content": "Hello, who are you?"}]}


@dataclass(frozen=True, slots=True)
class Built:
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Runs `python -m build` (source package, then wheel) in a copy, since setuptools writes beside its sources."""
    copy = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, copy)
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=GENERATED)
    out = tmp_path_factory.mktemp("dist")
    address = {"GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "owner/noa"}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy],
        env=os.environ | address,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Built(next(out.glob("*.whl")), next(out.glob("*.tar.gz")))


def files_of(folder: str) -> set[str]:
    """The files below a folder of the checkout, without generated ones."""
    names = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {name for name in names if "__pycache__" not in name}


def metadata(wheel: Path) -> Distribution:
    with zipfile.ZipFile(wheel) as archive:
        info = next(zipfile.Path(archive, name) for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return _InWheel(info.read_text(), archive.read(info.at.replace("METADATA", "entry_points.txt")).decode())


class _InWheel(Distribution):
    def __init__(self, text: str, entry_points: str) -> None:
        self._texts = {"METADATA": text, "entry_points.txt": entry_points}

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename)

    def locate_file(self, path: object) -> Path:
        raise FileNotFoundError(path)


def test_the_wheel_holds_every_file_of_the_packages_and_the_templates(built: Built) -> None:
    expected = {name for package in PACKAGES for name in files_of(package)}
    expected |= {f"noa_site/{name}" for name in files_of("templates")}
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if PurePosixPath(name).parts[0].endswith(".dist-info")}
    assert names - info == expected
    assert {PurePosixPath(name).name for name in info} >= {"LICENSE", "METADATA", "entry_points.txt"}
    assert {"models_app/py.typed", "noa_site/py.typed"} <= names


def test_the_source_package_holds_every_source(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    wanted = {"LICENSE", "Makefile", "manage.py", "pyproject.toml", "setup.py"}
    assert wanted | {name for folder in SOURCES for name in files_of(folder)} <= names


def test_the_metadata_names_licence_versions_addresses_and_programs(built: Built) -> None:
    found = metadata(built.wheel)
    assert found.metadata["License-Expression"] == "Apache-2.0"
    assert "Programming Language :: Python :: 3.13" in found.metadata.get_all("Classifier", [])
    addresses = dict(line.split(", ") for line in found.metadata.get_all("Project-URL", []))
    assert addresses["Homepage"] == "https://git.example/owner/noa"
    assert {script.name: script.value for script in found.entry_points} == {
        "noa": "models_app.cli.main:main",
        "noa-server": "noa_site.__main__:main",
    }


def test_the_declared_dependencies_are_those_of_the_requirements(built: Built) -> None:
    lines = [
        line
        for name in ("base.in", "llama.in")
        for line in (ROOT / "requirements" / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    declared = {str(Requirement(text)) for text in metadata(built.wheel).requires or []}
    assert declared == {str(Requirement(line)) for line in lines}


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment with the wheel, and nothing of the checkout."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def run(self, *words: str, cwd: Path) -> str:
        """The output of a program of the environment, run as a user would: with none of our variables."""
        program, *arguments = words
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=cwd, env=clean(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


def clean() -> dict[str, str]:
    """This process's environment without what leads programs to the checkout or to the data of these tests."""
    own = ("NOA_", "DJANGO_", "PYTHON", "DATABASE_URL", "VIRTUAL_ENV", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def closure(wheel: Path) -> dict[str, Distribution]:
    """The wheel's dependencies and what these depend on, as they are installed here, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(text), "") for text in metadata(wheel).requires or []]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        one = found.setdefault(name, distribution(name))
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                queue += [(Requirement(text), wanted) for text in one.requires or []]
    return found


def link_dependencies(wheel: Path, folder: Path) -> None:
    """Links to what the installed distributions of `closure` hold at their top level."""
    for one in closure(wheel).values():
        for top in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(one.locate_file(top))))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], env=clean(), check=True)
    made = Installed(folder)
    options = ["--quiet", "--disable-pip-version-check"]
    if not os.environ.get("WHEEL_INDEX"):
        dependencies = tmp_path_factory.mktemp("dependencies")
        link_dependencies(built.wheel, dependencies)
        packages = made.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
        # The `.pth` files in a folder that a `.pth` file adds are not read: no editable installation comes with it.
        (Path(packages) / "dependencies.pth").write_text(f"{dependencies}\n")
        options.append("--no-index")
    made.run("pip", "install", *options, str(built.wheel), cwd=folder)
    return made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """The folder in which the commands run; they leave it empty."""
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def test_the_code_and_its_dependencies_come_from_the_environment(installed: Installed, empty: Path) -> None:
    program = "import models_app, noa_site; print(models_app.__file__, noa_site.__file__, sep='\\n')"
    for file in installed.run("python", "-c", program, cwd=empty).splitlines():
        assert Path(file).is_relative_to(installed.folder), file
    assert "No broken requirements found." in installed.run("pip", "check", cwd=empty)


@pytest.mark.llama
@pytest.mark.parametrize("workers", [1, 2])
def test_noa_serve_answers_in_an_empty_folder(installed: Installed, empty: Path, tmp_path: Path, workers: int) -> None:
    home = tmp_path / "home"
    data = home / "data" / "noa"
    server = NoaServer(
        data_dir=data,
        program=[str(installed.bin / "noa"), "serve"],
        arguments=["--workers", str(workers)],
        folder=empty,
        base=clean() | {"HOME": str(home), "XDG_DATA_HOME": str(data.parent), "XDG_CACHE_HOME": str(home / "cache")},
    )
    try:
        server.start()
        status, answer = server.api("POST", "/v1/chat/completions", CHAT)
        assert (status, answer["model"]) == (200, "llama.cpp:noa-demo-ember"), answer
        assert "Ember" in answer["choices"][0]["message"]["content"]
        assert "noa/console.css" in page(server, "/admin/login/")
        assert page(server, "/static/noa/console.css")
        assert "operationId: load_model" in page(server, "/api/schema")
        assert (data / "noa.sqlite3").is_file()
        assert server.stop() == 0
    finally:
        server.kill()


def page(server: NoaServer, path: str) -> str:
    done = subprocess.run(["curl", "-fsS", server.url + path], capture_output=True, text=True, check=True)
    return done.stdout
