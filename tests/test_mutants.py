"""The list of explained mutants fits the code."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.markdown import ROOT

ENTRIES: list[dict[str, Any]] = tomllib.loads((ROOT / ".ci" / "equivalent_mutants.toml").read_text())["mutant"]


def test_no_mutant_is_explained_twice() -> None:
    found = [(one["file"], one["was"], one["becomes"]) for one in ENTRIES]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['file']}: {entry['becomes'].strip()[:40]}")
def test_an_explanation_is_about_code_that_exists(entry: dict[str, Any]) -> None:
    assert set(entry) == {"file", "was", "becomes", "why"}
    assert entry["why"].strip()
    lines = {line.strip() for line in (ROOT / entry["file"]).read_text().splitlines()}
    assert {line.strip() for line in entry["was"].splitlines()} <= lines
