"""Bounds of schemas: what multiplies is refused with its place, before any work."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.errors import InvalidRequest
from models_app.engines.runner.grammar import pattern
from models_app.engines.runner.grammar.bounds import MAX_PRODUCT
from models_app.engines.runner.grammar.schema import MAX_OPTIONAL, MAX_OPTIONS, MAX_VALUES, Grammar
from tests.engines.runner.grammar import hostile

COUNTS = st.lists(st.integers(1, 200), min_size=1, max_size=6)


def translate(schema: Any) -> str:
    grammar = Grammar()
    return grammar.text(grammar.add(schema, param="schema"))


def refusal(schema: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        translate(schema)
    assert (refused.value.code, refused.value.param) == ("invalid_schema", "schema")
    return refused.value.message


def product(counts: list[int]) -> int:
    found = 1
    for count in counts:
        found *= count
    return found


@given(COUNTS, st.sampled_from(["(x){{1,{0}}}", "(x){{0,{0}}}y", "(x){{{0}}}", "(?:x){{{0},}}"]))
def test_counts_inside_each_other_are_bounded_by_their_product(counts: list[int], form: str) -> None:
    text = "a"
    for count in counts:
        text = form.format(count).replace("x", text)
    # `y` adds a character around each count.
    positions = 1
    for count in counts:
        positions = positions * count + form.endswith("y")
    if positions <= pattern.MAX_POSITIONS:
        pattern.to_gbnf(f"^{text}$")
    else:
        with pytest.raises(pattern.PatternError, match="multiply"):
            pattern.to_gbnf(f"^{text}$")


@given(COUNTS, st.sampled_from(["maxItems", "minItems"]), st.booleans())
def test_items_and_lengths_are_bounded_by_their_product(counts: list[int], keyword: str, by_reference: bool) -> None:
    schema: dict[str, Any] = {"type": "string", "maxLength": 7}
    definitions: dict[str, Any] = {}
    for number, count in enumerate(counts):
        if by_reference:
            definitions[f"d{number}"] = schema
            schema = {"$ref": f"#/$defs/d{number}"}
        schema = {"type": "array", "items": schema, keyword: count}
    schema["$defs"] = definitions
    if 7 * product(counts) <= MAX_PRODUCT:
        translate(schema)
    else:
        assert "Lower this count or one around it" in refusal(schema)


def test_a_refusal_names_the_place_in_the_schema() -> None:
    inner = {"type": "array", "items": {"type": "string", "maxLength": 999}, "maxItems": 999}
    schema = {"properties": {"rows": {"type": "array", "items": {"anyOf": [{"type": "null"}, inner]}, "maxItems": 99}}}
    assert "#/properties/rows/items/anyOf/1/items/maxLength is 999" in refusal(schema)
    pattern_refusal = refusal({"properties": {"a": {"items": {"pattern": "^((.{1,30}){1,30}){1,30}$"}}}})
    assert "#/properties/a/items/pattern stands for 27,000 characters" in pattern_refusal


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"enum": list(range(MAX_VALUES + 1))}, "#/enum"),
        ({"items": {"anyOf": [{"const": n} for n in range(MAX_OPTIONS + 1)]}}, "#/items/anyOf"),
        ({"properties": {"a": {"oneOf": [{}] * (MAX_OPTIONS + 1)}}}, "#/properties/a/oneOf"),
        ({"type": ["string"] * (MAX_OPTIONS + 1)}, "#/type"),
        ({"properties": {f"p{n}": {} for n in range(MAX_OPTIONAL + 1)}}, "#/properties"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_many_alternatives_are_refused_with_their_place(schema: Any, where: str) -> None:
    assert where in refusal(schema)


def test_many_required_names_are_no_alternatives() -> None:
    names = [f"p{number}" for number in range(1000)]
    translate({"properties": {name: {"type": "integer"} for name in names}, "required": names})


def test_a_recursive_schema_is_no_product() -> None:
    translate({"type": "array", "maxItems": 1000, "items": {"$ref": "#"}})


def test_a_usual_pattern_is_far_below_the_bound() -> None:
    for text in (
        r"^([a-z]{1,63}\.){1,8}[a-z]{2,63}$",
        r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2,63}$",
        r"^(\+\d{1,3} )?(\d{2,4}[ /-]?){2,5}$",
        "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "^.{1,1000}$",
    ):
        pattern.to_gbnf(text)


@pytest.mark.parametrize("seed", range(3))
def test_no_hostile_schema_takes_long_to_translate(seed: int) -> None:
    for name, schema in hostile.schemas(seed, of_each=3):
        began = time.process_time()
        try:
            translate(schema)
        except InvalidRequest as error:
            assert error.code == "invalid_schema"
        assert time.process_time() - began < 3, name
