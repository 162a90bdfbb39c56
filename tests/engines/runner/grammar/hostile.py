"""Families of schemas that cost much more than they look, generated: a test takes some of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def in_object(schema: Schema) -> Schema:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}


def _pattern(text: str) -> Schema:
    return in_object({"type": "string", "pattern": text})


def nested_repeats(chance: random.Random) -> Schema:
    """Counts inside each other, over something that matches much."""
    text = chance.choice([".", "[^0-9]", r"\w", "[a-z ]", "(a|b|ab)", "[^a]"])
    for _ in range(chance.randint(3, 5)):
        low, high = chance.choice([(1, 30), (0, 20), (1, 12), (2, 40), (1, 9)])
        text = f"({text}){{{max(low, 1)},{high}}}"
    return _pattern(f"^{text}$")


def adjacent_repeats(chance: random.Random) -> Schema:
    """Many repetitions of the same characters beside each other."""
    part = chance.choice([".{0,30}", ".*", "[a-z]{0,20}", ".?"])
    return _pattern("^" + part * chance.randint(20, 60) + "$")


def alternations(chance: random.Random) -> Schema:
    """Alternatives that all match the same, repeated."""
    words = [chance.choice(["a", "ab", "aa", ".", "..", ".a", "[a-z]"]) for _ in range(chance.randint(10, 40))]
    return _pattern(f"^({'|'.join(words)}){{1,{chance.randint(5, 40)}}}$")


def wide_enums(chance: random.Random) -> Schema:
    start = "a" * chance.randint(1, 20)
    return {"enum": [f"{start}{number}" for number in range(chance.choice([200, 1500, 2500]))]}


def wide_unions(chance: random.Random) -> Schema:
    count = chance.choice([50, 300, 600])
    return {"anyOf": [{"type": "string", "pattern": f"^.{{1,{number % 900 + 1}}}$"} for number in range(count)]}


def deep_arrays(chance: random.Random) -> Schema:
    schema: Schema = {"type": "string", "maxLength": chance.choice([10, 1000])}
    for _ in range(chance.randint(2, 25)):
        schema = {"type": "array", "items": schema, "maxItems": chance.choice([10, 100, 1000])}
    return schema


def long_texts(chance: random.Random) -> Schema:
    longest = chance.choice([500, 1000, 100_000])
    return {"type": "object", "properties": {f"p{n}": {"type": "string", "maxLength": longest} for n in range(40)}}


def big_classes(chance: random.Random) -> Schema:
    characters = "".join(chr(0x100 + 2 * number) for number in range(chance.choice([100, 400, 900])))
    return _pattern(f"^[{characters}]{{1,{chance.randint(2, 90)}}}$")


def optional_names(chance: random.Random) -> Schema:
    return {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(chance.choice([200, 450, 900]))},
    }


def repeated_references(chance: random.Random) -> Schema:
    """Each definition reaches the next one several times."""
    depth = chance.randint(8, 20)
    definitions: Schema = {f"d{depth}": {"type": "string", "maxLength": 50}}
    for number in range(depth):
        next_one = {"$ref": f"#/$defs/d{number + 1}"}
        several = {"type": "array", "items": next_one, "maxItems": chance.choice([2, 30])}
        definitions[f"d{number}"] = {"anyOf": [next_one, several, {"type": "object", "properties": {"x": next_one}}]}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def repeated_types(chance: random.Random) -> Schema:
    """Lists of types multiply: each is a visit of everything inside."""
    schema: Schema = {"type": ["string"] * 50}
    for _ in range(chance.randint(3, 8)):
        schema = {"type": ["array"] * chance.choice([5, 40]), "items": schema}
    return schema


def wide_multiples(chance: random.Random) -> Schema:
    """Every residue is a state."""
    step = chance.choice([997, 65_537, 12_345_677])
    return in_object({"type": "integer", "minimum": -(10**12), "maximum": 10**15, "multipleOf": step})


def long_chains(chance: random.Random) -> Schema:
    """References that a recursive reader follows."""
    depth = chance.choice([200, 900])
    definitions: Schema = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"type": "null"}]} for n in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": definitions | {f"d{depth}": {"type": "null"}}}


def intersections(chance: random.Random) -> Schema:
    """Alternatives of each meet those of all others."""
    count = chance.randint(3, 8)
    options = [[{"properties": {f"a{i}": {"const": j}}} for j in range(6)] for i in range(count)]
    return {"type": "object", "allOf": [{"anyOf": each} for each in options]}


FAMILIES: Mapping[str, Callable[[random.Random], Schema]] = {
    make.__name__: make
    for make in (
        nested_repeats,
        adjacent_repeats,
        alternations,
        wide_enums,
        wide_unions,
        deep_arrays,
        long_texts,
        big_classes,
        optional_names,
        repeated_references,
        repeated_types,
        wide_multiples,
        long_chains,
        intersections,
    )
}


def schemas(seed: int, of_each: int) -> Iterator[tuple[str, Schema]]:
    """Schemas of all families in turn."""
    chance = random.Random(seed)
    for _ in range(of_each):
        for name, make in FAMILIES.items():
            yield name, make(chance)
