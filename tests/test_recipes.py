"""The recipes in CONTRIBUTING.md name places that exist."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from models_app.api.serializers import access
from models_app.domain.records.access import AccessRecord
from models_app.domain.states import JobKind
from models_app.models import AccessLog, Job
from models_app.tasks import queueing
from tests.markdown import ROOT, Page

PAGE = Page(ROOT / "CONTRIBUTING.md")
FOLDERS = (
    "models_app",
    "noa_site",
    "templates",
    "tests",
    "docs",
    "benchmarks",
    "requirements",
    "deploy",
    ".ci",
    ".github",
)
PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*<>-]*")
# Written by programs, not kept by git.
GENERATED = {"benchmarks/results"}
# The most frequent kinds of change.
RECIPES = (
    "An endpoint",
    "A page of the console",
    "A setting",
    "A column of the access log",
    "A kind of job",
    "An event",
    "A command",
    "An eviction rule",
)


def paths(text: str) -> list[str]:
    spans = re.findall(r"`([^`\n]+)`", text)
    return [span for span in spans if PATH.fullmatch(span) and span not in GENERATED]


def recipes() -> dict[str, str]:
    """The text of each recipe by its title."""
    parts = re.split(r"^### (.+)$", PAGE.section("Recipes"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_there_is_a_recipe_for_each_thing_that_is_often_added() -> None:
    assert tuple(recipes()) == RECIPES
    assert "## To add a provider" in PAGE.text


@pytest.mark.parametrize("path", sorted({path for path in paths(PAGE.text) if "<" not in path and "*" not in path}))
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted({path for path in paths(PAGE.text) if "<" in path or "*" in path}))
def test_every_path_with_a_placeholder_has_an_example_in_the_tree(path: str) -> None:
    assert list(ROOT.glob(re.sub(r"<\w+>", "*", path)))


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_a_numbered_list_of_places(title: str) -> None:
    steps = re.findall(r"^(\d)\. (.+(?:\n   .+)*)", recipes()[title], re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert [text for _, text in steps if not re.search(r"`[\w.]+/", text)] == []


# Steps whose omission no other test reports.


def test_a_column_of_the_access_log_is_in_the_record_and_in_the_api() -> None:
    columns = {field.name for field in AccessLog._meta.concrete_fields} - {"id"}
    # What a trace says about its caller goes to the receiver of traces alone.
    of_traces = {"is_sampled", "parent_id", "trace_state"}
    assert {field.name for field in fields(AccessRecord)} - of_traces == columns
    assert set(access.FIELDS) == columns


@pytest.mark.parametrize("kind", JobKind)
def test_a_kind_of_job_has_a_task(kind: JobKind) -> None:
    assert queueing.task_of(Job(kind=kind)).name.startswith("noa.")
