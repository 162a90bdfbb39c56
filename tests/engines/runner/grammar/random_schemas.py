"""Random schemas of all keywords, random answers of their grammars, and a judge of both."""

from __future__ import annotations

import datetime
import ipaddress
import random
import re
import uuid
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
from llguidance import LLMatcher

from models_app.engines.runner.grammar.child import Enforcer
from models_app.engines.runner.llama.vocabulary import Vocabulary

Schema = dict[str, Any]

PATTERNS = (
    "^[a-z]{2,4}-\\d+$",
    "cat|dog",
    "^(yes|no)\\.$",
    '^[^"\\\\,]+$',
    "^\\w+@\\w+\\.com$",
    "^a|b$",
    "[\\u00e9\\n\\t]",
    "^(\\+\\d{1,3} )?(\\d{2,4}[ /-]?){2,5}$",
    "^.{3,9}$",
    "^$",
    "",
    "^\\S+\\s\\S+$",
    "(ab)*c?",
    "^[A-Z]",
    '^[^"]*$',
    "[^\\\\]",
    '^([^"\\n]|"x")+$',
    "^[^!-~]+$",
    '^[^"\\\\\\]]{2,}[^a-z.-]$',
    "^[^,]+,[^\\s]*$",
    "\\.(png|jpe?g)$",
)
# Keywords that llguidance cannot enforce, or that nothing can.
ODD: tuple[Schema, ...] = (
    {"not": {"const": 1}},
    {"uniqueItems": True},
    {"if": {"const": 1}, "then": False},
    {"contains": {"const": 1}},
    {"propertyNames": {"maxLength": 2}},
    {"dependentRequired": {"a": ["b"]}},
    {"unevaluatedProperties": False},
    {"$dynamicRef": "#x"},
    {"$ref": "#/$defs/missing"},
    {"$ref": "https://example.com/schema.json"},
    {"$schema": "https://example.com/dialect"},
    {"type": "string", "format": "color"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "string", "pattern": "(a"},
    {"type": "string", "pattern": "\\q"},
    {"type": "string", "pattern": "\\P{L}"},
    {"type": "string", "pattern": "[z-a]"},
    {"type": "object", "patternProperties": {"^a": {}, "a$": {}}},
    {"type": "object", "minProperties": 3},
    {"type": "number", "multipleOf": 0},
    {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    {"type": "spaceship"},
    {"minimum": "3"},
    {"enum": []},
    {"required": "a"},
    {"x-guidance": {"lenient": True}, "not": {}},
)
_WORDS = ("", "a", "b c", 'q"\\', "é🇩🇪", "\x01\n", "</tool_call>", "x" * 30)
_SCALARS = (None, True, False, 0, -3, 7, 1.5, -2.25, 1e20, "a", "é🇩🇪", '"\\\n\x01', "")


def _full(expression: str) -> Callable[[object], bool]:
    compiled = re.compile(expression, re.ASCII)
    return lambda value: not isinstance(value, str) or compiled.fullmatch(value) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if isinstance(value, str):
            parse(value)
        return True

    return check


def _moment(value: str) -> None:
    """A leap second is none for datetime."""
    datetime.datetime.fromisoformat(value.upper().replace(":60", ":59"))


_CHECKS: dict[str, Callable[[object], bool]] = {
    "date": _parses(datetime.date.fromisoformat),
    "date-time": _parses(_moment),
    "time": _parses(lambda value: _moment(f"2026-01-01T{value}")),
    "duration": _full(r"P(\d+W|(?=.)(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?)"),
    "uuid": _parses(uuid.UUID),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "email": _full(r'("(.+)"|[^@\s]+)@(\[.+\]|[A-Za-z0-9.-]+)'),
    "hostname": _full(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"),
    "uri": _full(r"[A-Za-z][A-Za-z0-9+.-]*:\S*"),
}
FORMATS = tuple(_CHECKS)


def judge(schema: Schema) -> Any:
    """A validator of JSON Schema's own semantics, with formats."""
    checker = jsonschema.FormatChecker(formats=())
    for name, check in _CHECKS.items():
        checker.checks(name, raises=ValueError)(check)
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


class Maker:
    """Makes schemas of a random seed. With `odd` also of keywords that cannot be enforced."""

    def __init__(self, seed: int, *, odd: bool = False) -> None:
        self._chance = random.Random(seed)
        self._odd = odd

    def schema(self) -> Schema:
        made = self._schema(3)
        if "#/$defs/d" in repr(made):
            made["$defs"] = {"d0": self._schema(0), "d1": self._recursive()}
        return made

    def _one(self, *makes: Callable[[int], Schema]) -> Callable[[int], Schema]:
        return self._chance.choice(makes)

    def _schema(self, depth: int) -> Schema:
        flat = (self._string, self._number, self._constant, self._plain)
        deep = (self._object, self._object, self._array, self._tuple, self._union, self._intersection, self._reference)
        made = self._one(*(flat if depth <= 0 else flat + deep))(depth)
        if self._odd and self._chance.random() < 0.15:
            made |= self._chance.choice(ODD)
        return made

    def _plain(self, _: int) -> Schema:
        return self._chance.choice([{}, {"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}])

    def _constant(self, _: int) -> Schema:
        values = self._chance.sample(_SCALARS, self._chance.randint(1, 4))
        composed = [{"a": values[0]}, [values[0], 2]]
        return self._chance.choice([{"const": values[0]}, {"enum": values}, {"enum": composed}, {"const": composed[0]}])

    def _string(self, _: int) -> Schema:
        low = self._chance.randint(0, 5)
        lengths = {"minLength": low, "maxLength": low + self._chance.randint(0, 9)}
        return {"type": "string"} | self._chance.choice(
            [
                {},
                lengths,
                {"minLength": low},
                {"maxLength": low},
                {"pattern": self._chance.choice(PATTERNS)},
                {"pattern": "^[a-z]+$"} | lengths,
                {"format": self._chance.choice(FORMATS)},
                {"enum": self._chance.sample(_WORDS, 3)},
            ]
        )

    def _number(self, _: int) -> Schema:
        kind = self._chance.choice(["integer", "number"])
        low = self._chance.choice([-1e5, -7, -0.5, 0, 0.001, 3, 12.75] + [2**53 - 9] * (kind == "integer"))
        high = low + self._chance.choice([1, 2.5, 9, 1e5])
        step = self._chance.choice([1, 2, 5, 7, 0.5, 0.25])
        return {"type": kind} | self._chance.choice(
            [
                {},
                {"minimum": low},
                {"maximum": high},
                {"minimum": low, "maximum": high},
                {"exclusiveMinimum": low, "exclusiveMaximum": high},
                {"minimum": low, "exclusiveMaximum": high},
                {"multipleOf": step},
                {"minimum": 0, "multipleOf": step, "maximum": 500},
                {"minimum": -(2**53) + 1, "maximum": 2**53 - 1},
            ]
        )

    def _names(self) -> list[str]:
        return self._chance.sample(["a", "b", 'q"\\', "é 🇩🇪", "x y", "$ref", "z\n"], self._chance.randint(0, 4))

    def _object(self, depth: int) -> Schema:
        names = self._names()
        made: Schema = {"type": "object", "properties": {name: self._schema(depth - 1) for name in names}}
        if self._chance.random() < 0.7:
            made["required"] = [name for name in names if self._chance.random() < 0.6]
        if self._chance.random() < 0.6:
            made["additionalProperties"] = self._chance.choice([False, False, True, self._schema(depth - 2)])
        if self._chance.random() < 0.1:
            made["patternProperties"] = {"^p_": self._schema(depth - 2)}
        if self._chance.random() < 0.1:
            made["minProperties"] = self._chance.randint(0, 2)
        return made

    def _array(self, depth: int) -> Schema:
        low = self._chance.randint(0, 3)
        made: Schema = {"type": "array", "items": self._schema(depth - 1)}
        if self._chance.random() < 0.7:
            made |= {"minItems": low, "maxItems": low + self._chance.randint(0, 3)}
        return made

    def _tuple(self, depth: int) -> Schema:
        made: Schema = {"type": "array", "prefixItems": [self._schema(depth - 1) for _ in range(2)]}
        return made | self._chance.choice([{}, {"items": False}, {"minItems": 2}, {"minItems": 1, "maxItems": 3}])

    def _union(self, depth: int) -> Schema:
        word = self._chance.choice(["anyOf", "anyOf", "oneOf"])
        if word == "oneOf" and self._chance.random() < 0.5:
            kinds = [
                {"type": "object", "properties": {"kind": {"const": kind}, "v": self._schema(0)}, "required": ["kind"]}
                for kind in ("one", "two")
            ]
            return {word: kinds}
        beside: Schema = self._chance.choice([{}, {}, {"type": "object"}, {"description": "x"}, {"required": ["a"]}])
        return {word: [self._schema(depth - 1) for _ in range(self._chance.randint(1, 3))]} | beside

    def _intersection(self, depth: int) -> Schema:
        return {"allOf": [self._schema(depth - 1) for _ in range(self._chance.randint(1, 2))]}

    def _reference(self, _: int) -> Schema:
        to = self._chance.choice(["#/$defs/d0", "#/$defs/d1"])
        return {"$ref": to} | self._chance.choice([{}, {"description": "x"}, {"type": "object"}])

    def _recursive(self) -> Schema:
        again = {"$ref": "#/$defs/d1"}
        return self._chance.choice(
            [
                {"type": "object", "properties": {"v": self._schema(0), "next": {"anyOf": [again, {"type": "null"}]}}},
                {"anyOf": [{"type": "array", "items": again, "maxItems": 2}, {"type": "boolean"}]},
            ]
        )


class Writer:
    """Writes random texts that a grammar allows, as a model without sense would."""

    def __init__(self, enforcer: Enforcer, vocabulary: Vocabulary, seed: int) -> None:
        self._ends = np.array(sorted(enforcer.ends))
        self._piece, self._size = vocabulary.piece, vocabulary.size
        self._chance = np.random.default_rng(seed)
        # What ends texts, numbers and lists: preferred when an answer has become long.
        pieces = [self._piece(token) for token in range(self._size)]
        self._closing = np.array([n for n, piece in enumerate(pieces) if piece in (b'"', b"]", b"}")])

    def write(self, matcher: LLMatcher, longest: int = 400) -> bytes | None:
        """A finished text; None for one that has not ended after `longest` tokens, or exceeds llguidance's limits."""
        text = b""
        for step in range(longest):
            bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
            if matcher.is_error():
                return None
            mask = np.unpackbits(bits, count=self._size, bitorder="little").astype(bool)
            token = self._choose(mask, hurried=step > 60)
            if token in self._ends:
                return text
            assert matcher.consume_token(token)
            text += self._piece(token)
        return None

    def _choose(self, mask: np.ndarray[Any, Any], *, hurried: bool) -> int:
        ends = self._ends[mask[self._ends]]
        if ends.size and self._chance.random() < (0.9 if hurried else 0.4):
            return int(ends[0])
        closing = self._closing[mask[self._closing]]
        if closing.size and self._chance.random() < (0.9 if hurried else 0.2):
            return int(self._chance.choice(closing))
        allowed = np.flatnonzero(mask)
        assert allowed.size, "a state that allows nothing"
        return int(self._chance.choice(allowed))
