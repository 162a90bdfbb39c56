"""The bodies that NOA accepts as JSON objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain import json_body
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields

BAD = {
    "empty": b"",
    "null": b"null",
    "a scalar": b"5",
    "a string": b'"text"',
    "an array": b"[]",
    "truncated": b'{"a": 1',
    "trailing bytes": b'{"a": 1} x',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "bad UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e400": b'{"a": 1e400}',
    "an integer of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "65 levels": b'{"a":' * 65 + b"1" + b"}" * 65,
    "1,000 levels": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "100,000 levels": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lone surrogate": b'{"a": "\\ud800"}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1 /* one */}',
    "control character": b'{"a": "\x01"}',
    "form": b"a=1&b=2",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_it_refuses(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        json_body.decode(body)
    assert refusal.value.code == "invalid_json"


def test_it_takes_64_levels() -> None:
    json_body.decode(b'{"a":' * 64 + b"1" + b"}" * 64)


def test_what_it_repeats_of_the_client_is_short_and_printable() -> None:
    text = json_body.shown("\x1b[31m" + "x" * 1000)
    assert len(text) < 100
    assert text.isprintable()


def nested(kind: str, levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"a": 0, "b": found} if kind == "object" else [0, found]
    return found


@pytest.mark.parametrize("kind", ["object", "list"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_levels_are_counted_in_objects_and_lists(kind: str, limit: int) -> None:
    assert not json_body.depth_exceeds(nested(kind, limit), limit)
    assert json_body.depth_exceeds(nested(kind, limit + 1), limit)
    # The deepest branch counts, wherever it is.
    assert json_body.depth_exceeds([[], nested(kind, limit), {}], limit)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb\0", "a?b?"),
        (7, "7"),
        (None, "None"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "…"),
        ("\n" * 81, "?" * 80 + "…"),
    ],
)
def test_a_value_is_shown_by_its_first_80_characters(value: object, shown: str) -> None:
    assert json_body.shown(value) == shown


# Each method with values that it accepts, values that it refuses, and what the refusal says.
Look = Callable[[Fields], Any]
LOOKS: list[tuple[Look, list[Any], list[Any], str]] = [
    (lambda fields: fields.integer("a", -2, 3), [-2, 0, 3], [-3, 4, 1.0, True, "1"], "a whole number from -2 to 3"),
    (
        lambda fields: fields.number("a", -0.5, 2, 9.0),
        [-0.5, 0, 2],
        [-0.6, 2.1, float("nan"), float("inf"), True, "1", []],
        "a number from -0.5 to 2",
    ),
    (lambda fields: fields.boolean("a"), [True, False], [0, 1, "true", []], "true or false"),
    (lambda fields: fields.text("a", 1000), ["", "x" * 1000], ["x" * 1001, 1, []], "a string of at most 1,000 charac"),
    (lambda fields: fields.choice("a", ("b", "c")), ["b", "c"], ["", "d", 1, ["b"]], "one of b, c"),
    (lambda fields: fields.object("a"), [{}, {"b": 1}], [[], "b", 1], "an object"),
    (lambda fields: fields.items("a", 1, 1000), [[0], [0] * 1000], [[], [0] * 1001, "b"], "a list of 1 to 1,000 items"),
]


@pytest.mark.parametrize(("look", "accepted", "refused", "expected"), LOOKS)
def test_a_look_up_accepts_one_type_within_its_bounds(
    look: Look, accepted: list[Any], refused: list[Any], expected: str
) -> None:
    for value in accepted:
        assert look(Fields({"a": value})) == value
    for value in refused:
        with pytest.raises(InvalidRequest) as refusal:
            look(Fields({"a": value}, "outer."))
        assert refusal.value.param == "outer.a"
        assert refusal.value.message.startswith(f"'outer.a' must be {expected}")


@pytest.mark.parametrize("data", [{}, {"a": None}])
def test_a_missing_field_and_null_are_the_default(data: dict[str, Any]) -> None:
    fields = Fields(data)
    assert [look(fields) for look, *_ in LOOKS] == [None, 9.0, False, None, None, None, None]
    assert fields.boolean("a", True) is True
    for required in (lambda: fields.inner("a"), lambda: fields.each("a", 1, 2000)):
        with pytest.raises(InvalidRequest) as refusal:
            required()
        assert refusal.value.param == "a"
    assert refusal.value.message == "'a' must be a list of 1 to 2,000 objects."


def test_a_number_is_a_float_whatever_its_form() -> None:
    assert isinstance(Fields({"a": 1}).number("a", 0, 2, 0.0), float)


def test_the_path_of_a_field_grows_with_each_level() -> None:
    fields = Fields({"a": {"b": [{"c": 1}, {"c": {"d": 2}}]}})
    first, second = fields.inner("a").each("b", 1, 2)
    assert (first.path("c"), second.inner("c").path("d")) == ("a.b[0].c", "a.b[1].c.d")
    assert second.inner("c").integer("d", 0, 9) == 2
    with pytest.raises(InvalidRequest) as refusal:
        Fields({"b": [{}, 1]}, "a.").each("b", 1, 2)
    assert refusal.value.param == "a.b[1]"
    assert refusal.value.message == "'a.b[1]' must be an object."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is not valid JSON: "),
        (b"[]", "The body must be a JSON object."),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "The body is nested deeper than 64 levels."),
    ],
)
def test_the_refusal_of_a_body_says_why(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        json_body.decode(body)
    assert refusal.value.message.startswith(message)


def test_it_returns_the_object() -> None:
    assert json_body.decode(b'{"a": [1, "b", null]}') == {"a": [1, "b", None]}
