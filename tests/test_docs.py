"""The documentation and the program agree. Each test fails with what is missing."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from django.core.management import get_commands
from django.urls import URLPattern

from models_app.api import urls
from models_app.cli import main
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.events import EventName
from models_app.domain.measuring import figures
from models_app.domain.scopes import Scope
from models_app.engines.runner.grammar import child
from models_app.gateway.recording import recorder
from noa_site.config import Config
from tests import markdown
from tests.markdown import ROOT, Page

PAGES = markdown.pages()
CLI: Any = typer.main.get_command(main.app)
# Read by the command line and by the set-up, not by the server.
OTHER_VARIABLES = {
    "NOA_URL",
    "NOA_API_KEY",
    "NOA_CACHE_DIR",
    "NOA_TEST_DATABASE",
    "CMAKE_ARGS",
    "PYTHON",
}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def sources() -> list[Path]:
    return [path for path in (ROOT / "models_app").rglob("*.py") if "migrations" not in path.parts]


# Settings


def settings() -> dict[str, Any]:
    """The default of each setting by the name of its environment variable."""
    return {
        str(field.validation_alias or f"NOA_{name.upper()}"): field.default
        for name, field in Config.model_fields.items()
    }


def documented_settings() -> dict[str, str]:
    """The default column of each variable in docs/configuration.md."""
    text = markdown.page("docs/configuration.md").text
    return {name: row[1] for row in markdown.rows(text) for name in markdown.words(row[0])}


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented_settings()) - OTHER_VARIABLES == set(settings())


def test_the_documented_defaults_are_the_defaults() -> None:
    documented = documented_settings()
    for variable, default in settings().items():
        if default is None or isinstance(default, Path):
            continue
        text = ",".join(default) if isinstance(default, list) else f"{default}"
        text = text.lower() if isinstance(default, bool) else text.removesuffix(".0")
        assert documented[variable] == f"`{text}`", variable


@every_page
def test_every_variable_that_a_page_names_exists(page: Page) -> None:
    named = set(re.findall(r"\bNOA_[A-Z_]+\b", page.text))
    assert named <= set(settings()) | OTHER_VARIABLES


# The API


def api_operations() -> set[str]:
    found = set()
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
        view: Any = pattern.callback
        found |= {f"{method.upper()} {path}" for method in view.actions if method != "head"}
    return found


def test_every_operation_of_the_api_is_documented_and_nothing_else() -> None:
    table = markdown.page("docs/api.md").text.partition("\n## ")[0]
    documented = {row[0].strip("`") for row in markdown.rows(table) if row[0].startswith("`")}
    assert documented == api_operations()


def test_every_scope_is_explained() -> None:
    spans = set(markdown.page("docs/api.md").spans())
    assert {scope.value for scope in Scope} <= spans


def error_codes() -> set[str]:
    """Every error code in the source."""
    patterns = (
        r'code(?:: ClassVar\[str\])?\s*=\s*"([a-z_]+)"',
        r'\(errors\.\w+, "([a-z_]+)"\)',
        r'JobState\.FAILED, "([a-z_]+)"',
    )
    texts = [path.read_text() for path in sources()]
    return {code for text in texts for pattern in patterns for code in re.findall(pattern, text)}


def test_every_error_code_is_documented_and_nothing_else() -> None:
    text = markdown.page("docs/api.md").section("Error codes")
    documented = {code for row in markdown.rows(text) for code in markdown.words(row[0])}
    last_line = text.strip().splitlines()[-1]
    assert documented | set(markdown.words(last_line)) == error_codes()


def test_every_event_is_documented_and_nothing_else() -> None:
    text = markdown.page("docs/concepts.md").section("Events")
    documented = {row[0].strip("`"): row[1] for row in markdown.rows(text) if "`" in row[0]}
    assert set(documented) == {event.value for event in EventName}
    program = "".join(path.read_text() for path in sources())
    unsent = {event.value for event in EventName if f"EventName.{event.name}" not in program}
    assert {name for name, when in documented.items() if "reserved" in when} == unsent


def test_every_load_option_is_documented_with_its_option_of_the_command() -> None:
    text = markdown.page("docs/engine.md").section("Load options")
    table = {row[0].strip("`"): row[1].strip("`") for row in markdown.rows(text) if "`" in row[0]}
    assert set(table) == set(LoadOptions.__dataclass_fields__)
    known = {name for parameter in CLI.commands["load"].params for name in parameter.opts}
    assert set(table.values()) <= known


# Terms


def test_the_glossary_defines_each_term_once_in_order_and_links_to_its_page() -> None:
    found = [row for row in markdown.rows(markdown.page("docs/glossary.md").text) if row[0] not in ("term", "---")]
    terms = [row[0].casefold() for row in found]
    assert len(terms) > 40
    assert terms == sorted(set(terms))
    assert [row[0] for row in found if not re.search(r"\. \[.+\]\(.+\)$", row[1])] == []


# Commands


def shell_lines(page: Page) -> list[str]:
    return [line for block in page.blocks("sh") for line in block.commands()]


@every_page
def test_every_make_target_exists(page: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = [*shell_lines(page), *page.spans()]
    named = {target for text in code for target in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named <= targets


@every_page
def test_every_noa_command_in_a_block_is_understood(page: Page) -> None:
    for line in shell_lines(page):
        if line.startswith("noa "):
            words = [word for word in shlex.split(line, comments=True)[1:] if word != "--json"]
            CLI.commands[words[0]].make_context(words[0], words[1:])


@every_page
def test_every_command_that_a_line_names_exists(page: Page) -> None:
    for span in page.spans():
        if match := re.match(r"noa ([a-z]+)", span):
            assert match[1] in CLI.commands, span
    code = [*shell_lines(page), *page.spans()]
    named = {name for text in code for name in re.findall(r"manage\.py (\w+)", text)}
    assert named <= set(get_commands())


def test_every_noa_command_is_shown_somewhere() -> None:
    code = "\n".join(text for page in PAGES for text in [*shell_lines(page), *page.spans()])
    assert [name for name in CLI.commands if f"noa {name}" not in code] == []


# Links and blocks


@every_page
def test_every_link_leads_somewhere(page: Page) -> None:
    for link in page.links():
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link


@every_page
def test_every_file_that_a_line_names_exists(page: Page) -> None:
    own = r"(?:models_app|noa_site|tests|docs|benchmarks|requirements)/[\w./-]+\.\w+"
    for span in page.spans():
        if re.fullmatch(own, span):
            assert (ROOT / span).exists(), span


@every_page
def test_every_block_is_of_its_language(page: Page) -> None:
    for block in page.blocks():
        assert block.language in ("", "sh", "python", "json"), block
        if block.language == "python":
            compile(block.text, page.name, "exec")
        if block.language == "json":
            json.loads(block.text)


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    linked = set(markdown.page("docs/index.md").links())
    found = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert found == linked


def test_every_page_of_the_documentation_begins_with_an_example() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert re.match(r"# .+\n\n```sh\n", path.read_text()), path.name


# Sections and bounds


@every_page
def test_no_two_sections_of_a_page_have_one_title(page: Page) -> None:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.text, flags=re.DOTALL), re.MULTILINE)
    if page.name != "CHANGELOG.md":
        assert len(titles) == len(set(titles))


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/access-log.md", f"up to {recorder.MAX_PENDING:,} wait"),
        ("docs/profiling.md", f"faster than {figures.FASTEST_TPOT_MS:g} ms each"),
        ("docs/engine.md", f"more than {child.START_SECONDS:.0f} seconds".replace("2 seconds", "two seconds")),
        ("docs/engine.md", f"and {child.SHARE_SECONDS:g} s for each token in all"),
    ],
    ids=str,
)
def test_a_bound_that_a_page_states_is_the_codes(page: str, words: str) -> None:
    assert words in " ".join(markdown.page(page).text.split())


def test_the_backup_has_every_secret_of_the_data_folder() -> None:
    text = markdown.page("docs/operations.md").text
    for name in ("encryption_key", "secret_key", "spool/"):
        assert f"`{name}`" in text
