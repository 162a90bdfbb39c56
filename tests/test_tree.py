"""Rules for every file of the tree that no linter knows."""

from __future__ import annotations

import re
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
