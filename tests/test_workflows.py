"""The GitHub workflows and templates are valid, and their commands and paths exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.markdown import ROOT

HOST = ROOT / ".github"
WORKFLOWS = sorted((HOST / "workflows").glob("*.yml"))
ACTIONS = sorted((HOST / "actions").glob("*/action.yml"))
TEMPLATES = sorted(path for path in (HOST / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
MAKEFILE = (ROOT / "Makefile").read_text()

each = pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: str(path.relative_to(HOST)))
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def jobs(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each job once for each combination of its matrix, with that combination."""
    for job in read(path)["jobs"].values():
        combinations: list[dict[str, Any]] = [{}]
        for name, values in job.get("strategy", {}).get("matrix", {}).items():
            combinations = [{**one, name: value} for one in combinations for value in values]
        for combination in combinations:
            yield job, combination


def commands(path: Path) -> Iterator[str]:
    """The commands of the steps, with the values of the matrix."""
    for job, combination in jobs(path):
        for step in job["steps"]:
            text = str(step.get("run", ""))
            for name, value in combination.items():
                text = text.replace(f"${{{{ matrix.{name} }}}}", str(value))
            yield text


def steps(path: Path) -> list[dict[str, Any]]:
    document = read(path)
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job["steps"]]


@each
def test_actions_are_of_this_tree_or_pinned_by_commit_with_their_version_beside(path: Path) -> None:
    for line in re.findall(r"uses: (.+)", path.read_text()):
        if line.startswith("./"):
            assert (ROOT / line / "action.yml").is_file(), line
        else:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_commit_in_all_files() -> None:
    used = {line for path in [*WORKFLOWS, *ACTIONS] for line in re.findall(r"uses: (actions/.+)", path.read_text())}
    assert len(used) == len({line.partition("@")[0] for line in used})


@each
def test_each_step_runs_or_uses_one_thing(path: Path) -> None:
    assert steps(path)
    for step in steps(path):
        assert ("run" in step) != ("uses" in step), step


@each_workflow
def test_a_workflow_may_read_and_ends(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    for job in read(path)["jobs"].values():
        assert job["timeout-minutes"] <= 180


@each_workflow
def test_every_make_target_of_a_workflow_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = {target for text in commands(path) for target in re.findall(r"\bmake ([\w-]+)", text)}
    assert named
    assert named <= targets


def test_every_program_of_the_tree_that_a_step_runs_exists() -> None:
    for path in [*WORKFLOWS, *ACTIONS]:
        for step in steps(path):
            for name in re.findall(r"\.ci/\w+", str(step.get("run", ""))):
                assert (ROOT / name).is_file(), name


def test_each_change_is_tested_on_every_python_and_database() -> None:
    tested = {tuple(one.values()) for job, one in jobs(HOST / "workflows" / "ci.yml") if "target" in one}
    pyproject = (ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pyproject)
    assert tested == {(version, target) for version in versions for target in ("test-sqlite", "test-postgres")}
    ran = "\n".join(commands(HOST / "workflows" / "ci.yml"))
    assert {"make lint", "make test-journeys", "make coverage", "make wheel"} <= set(ran.splitlines())


def test_dependencies_are_audited_for_each_change_and_each_night() -> None:
    for name in ("ci.yml", "nightly.yml"):
        assert "make audit" in "\n".join(commands(HOST / "workflows" / name)).splitlines()
    audited = re.search(r"^audit: .*\n\t@for name in ([\w ]+);", MAKEFILE, re.MULTILINE)
    assert audited
    files = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    assert set(audited[1].split()) == files - {"bench", "mutation", "real"}, "these run no part of NOA"


def test_every_part_of_make_test_is_a_job() -> None:
    parts = re.search(r"^test: ([^#\n]+)##", MAKEFILE, re.MULTILINE)
    assert parts
    ran = set("\n".join(commands(HOST / "workflows" / "ci.yml")).splitlines())
    assert {f"make {part}" for part in parts[1].split()} <= ran


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_what_a_form_needs(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input")
        assert part["type"] == "markdown" or (part["id"] and part["attributes"]["label"])


def test_the_targets_that_the_pull_request_template_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    text = (HOST / "pull_request_template.md").read_text()
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
