"""The texts that a schema's grammar accepts, according to llguidance."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.engines.runner.grammar import lark
from models_app.engines.runner.grammar.schema import inexact, located, prepared
from tests.engines.runner.conftest import Accepts, Judge

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
    return lark.value(prepared(schema, strict=strict))


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
        (PERSON, '{"name": "x", "age": 5, "x": null}'),
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
        ({"type": "string", "format": "email"}, '"me@here.com"'),
        ({"type": "string", "pattern": "^a|b$"}, '"xb"'),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, '"a"'),
        ({"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1}, "-9007199254740991"),
        ({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5}, "2.5"),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, "1"),
        ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, "[1]"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "null"),
        ({"properties": {'a"b\\c': {"type": "null"}}}, '{"a\\"b\\\\c": null}'),
        ({"const": "\x01\u2028 🇩🇪 👩‍👩‍👧"}, '"\\u0001\u2028 🇩🇪 👩‍👩‍👧"'),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, '{"b": 1}'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://a/b", "type": "null"}, "null"),
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
        ({"prefixItems": [{"type": "integer"}, {"type": "string"}]}, "[1, 2]"),
        ({"type": "array", "items": False}, "[1]"),
        ({"anyOf": [{"type": "integer"}, {"const": "x"}]}, '"y"'),
        (TREE, '{"name": "a", "children": [{}]}'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"a"'),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"abcd"'),
        ({"type": "string", "pattern": "^[a-z]{2,4}-\\d+$"}, '"a-12"'),
        ({"type": "string", "pattern": "cat|dog"}, '"a cow!"'),
        ({"type": "string", "pattern": '^[^"\\\\,]+$'}, '"a,b"'),
        ({"type": "string", "format": "date"}, '"2026-13-23"'),
        ({"type": "string", "format": "date"}, '"2026-02-29"'),
        ({"type": "string", "format": "email"}, '"me.here.com"'),
        ({"type": "string", "format": "ipv4"}, '"1.2.3.256"'),
        ({"type": "string", "pattern": '[^"]'}, '"\\""'),
        ({"type": "string", "pattern": "^[^!-~]$"}, '"\\\\"'),
        ({"type": "integer", "minimum": 3}, "2"),
        ({"type": "number", "exclusiveMaximum": 3}, "3"),
        ({"type": "integer"}, "9007199254740993"),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, "0"),
        ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, "[1, 2]"),
    ],
)
def test_it_forbids(accepts: Accepts, schema: Any, text: str) -> None:
    assert not accepts(grammar_of(schema), text)


@pytest.mark.llama
def test_white_space_is_bounded(accepts: Accepts) -> None:
    assert accepts(grammar_of(PERSON), '{\n    "age"\n: 5 }')
    assert not accepts(grammar_of(PERSON), '{  "age": 5}')
    assert not accepts(grammar_of(PERSON), '{\n\n"age": 5}')


@pytest.mark.llama
@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {}}, "required": ["b"]}]},
        {"properties": {"a": {"type": "integer"}}, "$ref": "#/$defs/b", "$defs": {"b": {"properties": {"b": {}}}}},
        {"properties": {"a": {"type": "integer"}}, "anyOf": [{"required": ["b"]}]},
    ],
    ids=lambda schema: next(iter(set(schema) - {"properties", "$defs"})),
)
def test_schemas_that_meet_stay_open(accepts: Accepts, schema: Any) -> None:
    assert accepts(grammar_of(schema, strict=True), '{"a": 1, "b": 2}')


@pytest.mark.llama
@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"not": {}}}}, "#/properties/a/not"),
        ({"properties": {"a": {"items": {"pattern": "(?=a)b", "type": "string"}}}}, "#/properties/a/items/pattern"),
        ({"$defs": {"x": {"type": "string", "format": "color"}}, "$ref": "#/$defs/x"}, "#/$defs/x/format"),
        ({"anyOf": [{}, {"type": "spaceship"}]}, "#/anyOf/1/type"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "#/properties/a/$ref"),
        ({"items": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}, "#/items/oneOf"),
        ({"type": "string", "pattern": '[^"](?!a)'}, "#/pattern"),
        ({"$ref": "#"}, "#"),
        ({"enum": []}, "#"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_the_place(enforcing: Judge, schema: Any, place: str) -> None:
    matcher = enforcing.enforcer.compile(grammar_of(schema, strict=True))
    matcher.compute_bitmask()
    assert matcher.is_error()
    text = located(schema, matcher.get_error())
    assert text.startswith(f"{place}: ") and len(text) > len(place) + 5
    assert "\n" not in text


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "\\P{L}"}}},
        {"patternProperties": {"[\\x00-!]": {}}},
        {"minProperties": 3, "required": ["a"]},
        {"enum": [1, 1e20]},
        {"type": "number", "maximum": 1e17},
    ],
    ids=str,
)
def test_what_llguidance_enforces_not_exactly_is_named(schema: Any) -> None:
    assert inexact(schema).startswith("#")


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^\\p{L}+$"},
        {"pattern": '^[^"]+$'},
        {"minProperties": 2, "required": ["a"]},
        {"enum": [1, "a", None]},
        {"minimum": -(2**53) + 1},
        {"maximum": 2**63 - 1},
    ],
    ids=str,
)
def test_what_it_enforces_exactly_is_not(schema: Any) -> None:
    assert not inexact(schema)


@pytest.mark.llama
def test_options_of_a_client_do_not_reach_llguidance(enforcing: Judge) -> None:
    schema = {"x-guidance": {"lenient": True}, "properties": {"a": {"x-guidance": {"lenient": True}, "not": {}}}}
    assert enforcing.enforcer.compile(grammar_of(schema, strict=True)).is_error()
    assert not enforcing.enforcer.compile(grammar_of(schema)).is_error()
