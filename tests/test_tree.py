"""Rules for every file of the tree that no linter checks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import markdown
from tests.markdown import ROOT

MAX_LINES = 400
MAX_MODULES = 25
FOLDERS = ("models_app", "noa_site", "tests", "benchmarks", "templates")
SUFFIXES = (".py", ".html", ".js", ".css", ".c", ".sh")
# Names that do not describe the content.
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


def test_no_folder_holds_too_many_modules_to_find_one() -> None:
    sizes = {
        str(folder.relative_to(ROOT)): len([path for path in folder.glob("*.py") if path.stem != "__init__"])
        for folder in (ROOT / "models_app").rglob("*")
        if folder.is_dir() and folder.name != "migrations"
    }
    assert {name: size for name, size in sizes.items() if size > MAX_MODULES} == {}


def contracts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    return found


def test_the_documented_rooms_are_the_folders_in_the_layers_of_their_contract() -> None:
    page = markdown.page("docs/architecture.md").text
    documented = {
        folder: {row[1].strip("`"): int(row[0]) for row in markdown.rows(part) if row[0].isdigit()}
        for folder, part in re.findall(r"^### `(\w[\w/]+)`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    }
    found = {}
    for contract in contracts():
        if contract["type"] != "layers" or contract["containers"] == ["models_app"]:
            continue
        [container] = contract["containers"]
        folder = container.replace(".", "/")
        found[folder] = {
            room: number
            for number, layer in enumerate(reversed(contract["layers"]), start=1)
            for room in re.split(r" [|:] ", layer)
            if (ROOT / folder / room).is_dir()
        }
    assert documented == found


def test_the_documented_floors_are_those_of_the_contract() -> None:
    [layers] = [one["layers"] for one in contracts() if one.get("containers") == ["models_app"]]
    rows = markdown.rows(markdown.page("CONTRIBUTING.md").section("Floors"))
    documented = [Path(row[0].strip("`")).stem for row in rows if "`" in row[0]]
    assert set(documented) == {floor for layer in layers for floor in layer.split(" | ")}


def test_every_room_of_the_gateway_but_site_is_in_the_contract_of_the_request_path() -> None:
    """The list of a `forbidden` contract does not grow by itself; `layers` contracts are exhaustive."""
    [listed] = [one["source_modules"] for one in contracts() if "request path" in one["name"]]
    gateway = ROOT / "models_app" / "gateway"
    rooms = {path.parent.name for path in gateway.glob("*/__init__.py")} - {"site"}
    assert set(listed) == {f"models_app.gateway.{room}" for room in rooms}
    assert [path.name for path in gateway.glob("*.py")] == ["__init__.py"]


def test_every_module_is_under_the_import_contract_that_means_it() -> None:
    [listed] = [one["source_modules"] for one in contracts() if "runner is a program" in one["name"]]
    modules = {f"models_app.engines.{path.stem}" for path in (ROOT / "models_app" / "engines").glob("*.py")}
    assert modules - {"models_app.engines.__init__"} <= set(listed)
