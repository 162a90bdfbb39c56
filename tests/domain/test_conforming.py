"""Values that fit a schema, by the keywords that NOA checks."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.conforming import conforms

# A value of each type of JSON, and the types of a schema that it fits.
TYPES: list[tuple[Any, set[str]]] = [
    ({}, {"object"}),
    ("a", {"string"}),
    (7, {"integer", "number"}),
    (0, {"integer", "number"}),
    (7.5, {"number"}),
    (True, {"boolean"}),
    (False, {"boolean"}),
    ([], set()),
    (None, set()),
]


@pytest.mark.parametrize(("value", "fitting"), TYPES)
def test_a_value_fits_its_own_type(value: Any, fitting: set[str]) -> None:
    names = ("object", "string", "integer", "number", "boolean")
    assert {name for name in names if conforms(value, {"type": name})} == fitting


@pytest.mark.parametrize("value", [value for value, _ in TYPES])
def test_any_value_fits_a_schema_without_keywords(value: Any) -> None:
    assert conforms(value, {})
    assert conforms(value, {"required": ["a"], "additionalProperties": False})


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        ("a", {"enum": ["a", "b"]}, True),
        ("c", {"enum": ["a", "b"]}, False),
        ("a", {"enum": ["a", 1], "type": "string"}, True),
        (1, {"enum": ["a", 1], "type": "string"}, False),
        ("c", {"enum": ["a"], "type": "string"}, False),
        ("a", {"enum": []}, False),
    ],
)
def test_an_enumeration_lists_all_values(value: Any, schema: dict[str, Any], fits: bool) -> None:
    assert conforms(value, schema) is fits


CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "size": {"type": "integer"},
        "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    },
    "required": ["name", "size"],
}


@pytest.mark.parametrize(
    ("value", "fits", "fits_when_closed"),
    [
        ({"name": "Ulm", "size": 1}, True, True),
        ({"name": "Ulm", "size": 1, "at": {"x": 0.5}}, True, True),
        ({"name": "Ulm", "size": 1, "river": "Donau"}, True, False),
        ({"name": "Ulm"}, False, False),
        ({"size": 1}, False, False),
        ({}, False, False),
        ({"name": "Ulm", "size": "1"}, False, False),
        ({"name": 1, "size": 1}, False, False),
        ({"name": "Ulm", "size": 1, "at": {}}, False, False),
        ({"name": "Ulm", "size": 1, "at": {"x": "a"}}, False, False),
        ([], False, False),
    ],
)
def test_an_object_has_what_is_required_and_fits_its_properties(value: Any, fits: bool, fits_when_closed: bool) -> None:
    assert conforms(value, CITY) is fits
    assert conforms(value, CITY | {"additionalProperties": True}) is fits
    assert conforms(value, CITY | {"additionalProperties": False}) is fits_when_closed


def test_an_object_without_properties_is_free_unless_it_is_closed() -> None:
    assert conforms({"a": 1}, {"type": "object"})
    assert conforms({}, {"type": "object", "additionalProperties": False})
    assert not conforms({"a": 1}, {"type": "object", "additionalProperties": False})
