"""The OpenAPI document is complete: examples, summaries, errors, schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from django.test import Client

from models_app.api import document
from tests.journeys.server import ROOT

pytestmark = pytest.mark.wide

# The snapshot, which `make lint` compares with the code.
DOCUMENT: Any = yaml.load((ROOT / "docs" / "openapi.yaml").read_text(), yaml.CSafeLoader)
OPERATIONS: dict[str, Any] = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}
EXAMPLE_FILES = {path.stem for path in document.EXAMPLES.glob("*.json")}

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def checked(content: Any) -> None:
    """Fails when an example does not conform to its schema."""
    wanted = _draft(content["schema"]) | {"components": _draft(DOCUMENT["components"])}
    jsonschema.Draft202012Validator(wanted).validate(content["example"])


def _draft(node: Any) -> Any:
    """Translates OpenAPI 3.0's `nullable` to JSON schema."""
    if isinstance(node, list):
        return [_draft(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {name: _draft(value) for name, value in node.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") is True else plain


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_every_reference_leads_to_a_schema() -> None:
    """A validation that resolves no references does not find the others, and generators of clients stop at them."""
    found = set(_references(DOCUMENT))
    assert len(found) > 100
    existing = {f"#/components/{kind}/{name}" for kind, items in DOCUMENT["components"].items() for name in items}
    assert found <= existing


@every_operation
def test_every_operation_says_what_it_does(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["tags"]
    assert operation.get("description") or operation.get("summary")
    for parameter in operation.get("parameters", []):
        assert parameter["in"] == "path" or parameter.get("description"), parameter["name"]


@every_operation
def test_every_operation_has_a_short_summary(name: str) -> None:
    summary = OPERATIONS[name].get("summary", "")
    assert 0 < len(summary) <= 60
    assert summary[0].isupper()
    assert not summary.endswith(".")


@every_operation
def test_every_body_has_an_example_that_is_true(name: str) -> None:
    body = OPERATIONS[name].get("requestBody")
    for content in body["content"].values() if body else ():
        assert "example" in content
        checked(content)


@every_operation
def test_every_answer_has_an_example_that_is_true(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        content = response.get("content", {}).get("application/json")
        if status.startswith("2") and content:
            assert "example" in content, status
            checked(content)


@every_operation
def test_every_operation_tells_of_a_missing_key(name: str) -> None:
    assert "401" in OPERATIONS[name]["responses"]


def test_every_example_belongs_to_an_operation() -> None:
    assert set(OPERATIONS) >= EXAMPLE_FILES


def test_names_of_operations_are_unique() -> None:
    count = sum(len(methods) for methods in DOCUMENT["paths"].values())
    assert len(OPERATIONS) == count


def test_the_page_to_try_it_needs_no_other_server() -> None:
    page = Client().get("/api/docs").content.decode()
    assert "swagger-ui" in page
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert addresses
    assert [address for address in addresses if urlsplit(address).netloc] == []


def test_the_document_is_served_as_json_and_as_yaml() -> None:
    as_json = Client().get("/api/schema", headers={"Accept": "application/json"}).json()
    as_yaml = yaml.load(Client().get("/api/schema").content, yaml.CSafeLoader)
    assert as_json == as_yaml
    assert as_json["openapi"].startswith("3.")
