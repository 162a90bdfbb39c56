"""requirements/*.in and the imports of production code agree: nothing unused, nothing undeclared."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.markdown import ROOT

OWN = {"models_app", "noa_site"}
# The generator of the demo models, for developers, who have the development requirements and torch.
DEMO, DEMO_ONLY = "models_app/demo/", {"gguf", "torch"}
# Declared and not imported, with the reason.
NOT_IMPORTED = {
    "diskcache": "llama-cpp-python imports it, and is installed without its dependencies",
    "typing-extensions": "llama-cpp-python imports it, and is installed without its dependencies",
}
# Names by their string in these: Django applications, middleware, back ends.
BY_STRING = ROOT / "noa_site" / "settings.py"


def declared(name: str) -> set[str]:
    """Names of the distributions in a requirements file."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith(("#", "-r"))}


def modules() -> Iterator[Path]:
    for package in sorted(OWN):
        yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Top-level names that a module imports, at its top or within a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path == BY_STRING:
            found.add(node.value.partition(".")[0])
    return found - OWN - sys.stdlib_module_names


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    """The modules that import from each distribution; a name of no distribution is its own key."""
    brought = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in modules():
        for name in imports(path):
            if path == BY_STRING and name not in brought:
                continue
            for distribution in brought.get(name, [name]):
                found.setdefault(canonicalize_name(distribution), set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_dependency_is_imported_or_has_a_reason(used: dict[str, set[str]]) -> None:
    assert declared("base.in") - used.keys() - NOT_IMPORTED.keys() == set()
    assert NOT_IMPORTED.keys() <= declared("base.in")


def test_every_import_is_of_a_declared_dependency(used: dict[str, set[str]]) -> None:
    allowed = declared("base.in") | declared("llama.in") | DEMO_ONLY
    assert {name: files for name, files in used.items() if name not in allowed} == {}


def test_what_only_makes_the_demo_models_is_imported_there_alone(used: dict[str, set[str]]) -> None:
    for name in DEMO_ONLY:
        assert [file for file in used.get(name, ()) if not file.startswith(DEMO)] == []


def test_development_requirements_repeat_no_dependency() -> None:
    assert declared("dev.in") & (declared("base.in") | declared("llama.in")) == set()
