"""One kind of provider is one row in one table and one folder: the recipe in CONTRIBUTING.md stays true."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from models_app.domain.keys import canonical_slug
from models_app.domain.provider_kinds import KINDS, LOCAL_KIND, ProviderKind
from models_app.providers.wire import resolving
from noa_site.config import Config
from tests import markdown
from tests.markdown import ROOT

TABLE = ROOT / "models_app/domain/provider_kinds.py"
PROVIDERS = ROOT / "models_app/providers"
RECIPE = "To add a provider"

each_kind = pytest.mark.parametrize("kind", ProviderKind)


def sources() -> list[Path]:
    """All source files in which no kind may be named: neither the table nor a kind's own folder."""
    folders = [PROVIDERS / row.folder for row in KINDS.values()]
    found = [path for name in ("models_app", "noa_site") for path in (ROOT / name).rglob("*.py")]
    return [
        path
        for path in found
        if path != TABLE and "migrations" not in path.parts and not any(path.is_relative_to(each) for each in folders)
    ]


def kinds_named(source: str) -> list[int]:
    """The lines that name a member of ProviderKind, or compare something called `kind` with the value of one."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ProviderKind.__members__:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name == "ProviderKind":
                lines.append(node.lineno)
        elif isinstance(node, ast.Compare) and _compares_a_kind([node.left, *node.comparators]):
            lines.append(node.lineno)
    return lines


def _compares_a_kind(operands: list[ast.expr]) -> bool:
    texts = {each.value for operand in operands for each in ast.walk(operand) if isinstance(each, ast.Constant)}
    names = {getattr(operand, "attr", getattr(operand, "id", "")) for operand in operands}
    return bool(texts & set(ProviderKind)) and any(name.endswith("kind") for name in names)


@each_kind
def test_each_kind_has_a_row_whose_code_is_in_its_own_folder(kind: ProviderKind) -> None:
    row = KINDS[kind]
    assert (PROVIDERS / row.folder / "__init__.py").is_file()
    for name in filter(None, (row.list_models, row.check_model, row.translation)):
        assert name.startswith(f"models_app.providers.{row.folder}."), name
    assert inspect.iscoroutinefunction(resolve_name(row.list_models))
    assert inspect.iscoroutinefunction(resolve_name(row.check_model))
    assert bool(row.translation) == (resolving.translation(kind) is not None)


@each_kind
def test_each_kind_with_an_api_of_its_own_has_a_fake(kind: ProviderKind) -> None:
    row = KINDS[kind]
    assert not row.translation or (ROOT / f"tests/fakes/{row.folder}_server.py").is_file()


def test_no_two_kinds_share_a_folder_a_name_or_a_variable() -> None:
    rows = KINDS.values()
    assert len({row.folder for row in rows}) == len({row.label for row in rows}) == len(KINDS)
    slugs = [*ProviderKind, *(alias for row in rows for alias in row.aliases)]
    variables = [name for row in rows for name in row.variables or ()]
    assert len(set(slugs)) == len(slugs)
    assert len(set(variables)) == len(variables)


@each_kind
def test_the_slugs_and_variables_of_a_kind_come_from_its_row(kind: ProviderKind) -> None:
    row = KINDS[kind]
    assert all(canonical_slug(alias) == kind.value for alias in row.aliases)
    assert {name.lower() for name in row.variables or ()} <= Config.model_fields.keys()


def test_an_address_of_a_variable_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in KINDS.values():
        for name in (row.variables or ())[1:]:
            monkeypatch.setenv(name, "http://10.0.0.1/v1")
            with pytest.raises(ValueError, match="An entry of NOA_PROVIDERS has this switch"):
                Config()
            monkeypatch.delenv(name)


def test_no_other_file_names_a_kind() -> None:
    found = {str(path.relative_to(ROOT)): kinds_named(path.read_text()) for path in sources()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "if kind == ProviderKind.OPENAI: pass",
        "x = provider_kinds.ProviderKind.ANTHROPIC",
        "match kind:\n    case ProviderKind.OPENAI: pass",
        "if provider.kind == 'anthropic': pass",
        "if 'openai' != remote.kind: pass",
        "if kind in ('openai', 'anthropic'): pass",
    ],
)
def test_a_kind_that_is_named_is_found(source: str) -> None:
    assert kinds_named(source)


def test_the_recipe_names_four_places_that_exist() -> None:
    steps = re.findall(r"^\d\. (.+?)(?=^\d\. |\Z)", markdown.page("CONTRIBUTING.md").section(RECIPE), re.M | re.S)
    assert len(steps) == 4
    for path in re.findall(r"`((?:models_app|tests|docs)/[\w/.]+)`", "".join(steps)):
        assert (ROOT / path).exists(), path


@each_kind
def test_the_documentation_has_each_kind(kind: ProviderKind) -> None:
    row = KINDS[kind]
    page = markdown.page("docs/providers.md").text
    cells = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
    assert f"`{row.default_url}`" in cells if row.default_url else "must be given" in cells
    assert all(f"`{name}`" in page for name in (*(row.variables or ()), *row.aliases))


def test_the_files_of_this_machine_need_no_address() -> None:
    assert KINDS[LOCAL_KIND].reads_files
    assert not KINDS[LOCAL_KIND].default_url
