"""The texts that a schema's grammar accepts, according to llama.cpp."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.engines.runner.grammar.schema import Grammar
from tests.engines.runner.conftest import Accepts

TREE = {
    "$ref": "#/$defs/my_node",
    "$defs": {
        "my_node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/my_node"}},
            },
            "required": ["name"],
        }
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "x": {"type": "null"}},
    "required": ["age"],
}


def grammar_of(schema: Any, *, strict: bool = False) -> str:
    grammar = Grammar()
    return grammar.text(grammar.add(schema, param="schema", strict=strict))


@pytest.mark.llama
@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, '{"a": [1, -2.5e3, "x\\n\\u00e9", true, null]}'),
        ({}, "[ ]"),
        ({"type": "string"}, '"hello \\"you\\" ä"'),
        ({"type": "integer"}, "-120"),
        ({"type": "number"}, "3.25e-7"),
        ({"type": "boolean"}, "false"),
        ({"type": ["string", "null"]}, "null"),
        ({"enum": ["red", 5, None]}, '"red"'),
        ({"enum": ["red", 5, None]}, "5"),
        ({"const": {"a": [1]}}, '{"a":[1]}'),
        (PERSON, '{"age": 5}'),
        (PERSON, '{"age": 5, "name": "x", "x": null}'),
        (PERSON, '{\n  "age": 5,\n  "x": null\n}'),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, "{}"),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, '{"b": 1}'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"k": 1, "l": 2}'),
        ({"type": "object"}, '{"anything": {}}'),
        ({"required": ["a"]}, '{"a": [1]}'),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1, 2, 3]"),
        ({"type": "array", "maxItems": 2}, "[]"),
        ({"type": "array", "maxItems": 0}, "[]"),
        ({"prefixItems": [{"type": "integer"}, {"type": "string"}]}, '[1, "a"]'),
        ({"anyOf": [{"type": "integer"}, {"const": "x"}]}, '"x"'),
        ({"oneOf": [{"type": "integer"}, {"const": "x"}]}, "1"),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]}, PERSON]}, '{"a": 2, "age": 1}'),
        (TREE, '{"name": "a", "children": [{"name": "b"}, {"name": "c", "children": []}]}'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"ab"'),
        ({"type": "string", "pattern": "^[a-z]{2,4}-\\d+$"}, '"abc-12"'),
        ({"type": "string", "pattern": "cat|dog"}, '"a dog!"'),
        ({"type": "string", "pattern": "^(yes|no)\\.$"}, '"yes."'),
        ({"type": "string", "pattern": '^[^"\\\\,]+$'}, '"a b"'),
        ({"type": "string", "pattern": "^\\w+@\\w+\\.com$"}, '"me@here.com"'),
        ({"type": "string", "format": "date"}, '"2026-11-23"'),
        ({"type": "string", "format": "date-time"}, '"2026-11-23T10:00:00Z"'),
        ({"type": "string", "format": "uuid"}, '"0a1b2c3d-0000-0000-0000-000000000000"'),
        ({"properties": {'a"b\\c': {"type": "null"}}}, '{"a\\"b\\\\c": null}'),
    ],
)
def test_it_allows(accepts: Accepts, schema: Any, text: str) -> None:
    assert accepts(grammar_of(schema), text)


@pytest.mark.llama
@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "hello"),
        ({}, '{"a": 1'),
        ({"type": "string"}, "5"),
        ({"type": "string"}, '"a\nb"'),
        ({"type": "integer"}, "1.5"),
        ({"type": "integer"}, "007"),
        ({"enum": ["red", 5, None]}, '"blue"'),
        (PERSON, "{}"),
        (PERSON, '{"name": "x"}'),
        (PERSON, '{"age": "5"}'),
        (PERSON, '{"age": 5, "other": 1}'),
        (PERSON, '{"age": 5,}'),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1]"),
        ({"type": "array", "maxItems": 2}, "[1, 2, 3]"),
        ({"prefixItems": [{"type": "integer"}, {"type": "string"}]}, "[1]"),
        ({"type": "array", "items": False}, "[1]"),
        ({"anyOf": [{"type": "integer"}, {"const": "x"}]}, '"y"'),
        (TREE, '{"name": "a", "children": [{}]}'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"a"'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"abcd"'),
        ({"type": "string", "pattern": "^[a-z]{2,4}-\\d+$"}, '"a-12"'),
        ({"type": "string", "pattern": "cat|dog"}, '"a cow!"'),
        ({"type": "string", "pattern": '^[^"\\\\,]+$'}, '"a,b"'),
        ({"type": "string", "format": "date"}, '"2026-13-23"'),
    ],
)
def test_it_forbids(accepts: Accepts, schema: Any, text: str) -> None:
    assert not accepts(grammar_of(schema), text)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"anyOf": [{"$ref": "#"}]},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json#/a"},
        {"$ref": "#/$defs/missing"},
        {"$ref": 5},
        {"type": "spaceship"},
        {"type": 5},
        {"type": []},
        {"type": [[]]},
        {"enum": []},
        {"enum": "red"},
        {"anyOf": []},
        {"anyOf": {}},
        {"anyOf": [5]},
        {"allOf": []},
        {"allOf": [5]},
        {"allOf": [{"$ref": "#"}]},
        {"properties": []},
        {"properties": {"a": 5}},
        {"required": "a"},
        {"required": [1]},
        {"additionalProperties": "yes", "properties": {"a": {}}},
        {"items": 5},
        {"minItems": -1},
        {"maxItems": 10**9},
        {"minItems": 3, "maxItems": 2},
        {"minLength": 1.5},
        {"maxLength": 10**6},
        {"maxLength": True},
        {"prefixItems": {}, "type": "array"},
        *(
            {"pattern": pattern}
            for pattern in (
                "(",
                ")",
                "[",
                "[]",
                "a{",
                "a{2",
                "a{3,2}",
                "a{99999}",
                "*",
                "(?=a)",
                "(?P<n>a)",
                "a**",
                "a+?",
                "(a*)*",
                "(a?|b)+",
                "\\b",
                "\\p{L}",
                "\\1",
                "^a|b$",
                "[z-a]",
                '["]',
                "[a-\\d]",
                "(" * 30,
                "x" * 2000,
                5,
                None,
                "a\\",
            )
        ),
    ],
    ids=str,
)
def test_it_refuses_what_it_cannot_express(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        grammar_of(schema)
    assert refusal.value.code == "invalid_schema"
    assert refusal.value.param == "schema"


def test_it_refuses_a_chain_of_references_without_end() -> None:
    definitions: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"type": "null"}]} for n in range(2000)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": definitions | {"d2000": {"type": "null"}}}
    with pytest.raises(InvalidRequest, match="too many references"):
        grammar_of(schema)


def test_it_refuses_a_schema_that_grows() -> None:
    names = [f"p{n}" for n in range(6000)]
    wide = {"properties": {name: {"type": "integer"} for name in names}, "required": names}
    with pytest.raises(InvalidRequest, match="too large"):
        grammar_of(wide)


def test_a_keyword_that_is_not_enforced_is_refused_only_with_strict() -> None:
    schema = {"type": "integer", "minimum": 3}
    grammar_of(schema)
    with pytest.raises(InvalidRequest, match="'minimum'"):
        grammar_of(schema, strict=True)
