"""Rules for every file of the tree that no linter knows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.markdown import ROOT

MAX_LINES = 400
FOLDERS = ("models_app", "noa_site", "tests", "benchmarks", "templates")
SUFFIXES = (".py", ".html", ".js", ".css", ".c", ".sh")
# Names that say nothing about what is inside.
EMPTY_WORDS = ("manager", "helper", "util", "common", "enhanced", "handler", "processor")


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and "migrations" not in path.parts:
                yield path


def test_no_file_is_too_long_to_find_something_in_it() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files()}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_files_are_named_after_what_they_do() -> None:
    named = [path for path in files() if any(word in path.stem.lower() for word in EMPTY_WORDS)]
    assert named == []


def test_classes_are_named_after_what_they_are() -> None:
    empty = re.compile(rf"^class \w*(?:{'|'.join(EMPTY_WORDS)})\w*", re.MULTILINE | re.IGNORECASE)
    found = {path.name: empty.findall(path.read_text()) for path in files() if path.suffix == ".py"}
    assert {name: classes for name, classes in found.items() if classes} == {}


def test_every_module_is_under_the_import_contract_that_means_it() -> None:
    """import-linter takes lists, which do not grow by themselves."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = {module for contract in contracts for module in contract.get("source_modules", [])}
    # These join the request path with the database.
    expected = modules("gateway") - {
        f"models_app.gateway.{name}" for name in ("demand", "site", "snapshots", "spending")
    }
    assert expected | modules("engines") <= listed


def modules(floor: str) -> set[str]:
    folder = ROOT / "models_app" / floor
    return {f"models_app.{floor}.{path.stem}" for path in folder.glob("*.py")} - {f"models_app.{floor}.__init__"}
