"""Prepares JSON schemas for llguidance, which enforces them. Pure; no reference is ever fetched.

https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md lists the keywords that it enforces. With
`strict` any other one that restricts values is refused; without, it is ignored.

A schema is narrowed where that is certain to leave a part of its values: objects have only the named properties unless
`additionalProperties` allows more, since a small model can continue an open object without end; integers are those that
every reader of JSON holds exactly; `properties` alone means an object, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from models_app.domain.json_body import shown
from models_app.engines.runner.grammar import patterns

# Where JSON allows white space. Any amount would let some models write it without end.
WHITE_SPACE = r" |\n[ \t]{0,20}"
# Many models write "\\u00e9", as they have read it.
_OPTIONS = {"whitespace_pattern": WHITE_SPACE, "json_allow_general_unicode_escapes": True}
# The integers that a double holds exactly, RFC 8259 section 6.
_EXACT = 2**53 - 1
# The smallest step of a number with a range, and the smallest bound for which that is no restriction.
_STEP = 1e-9
_SMALL = 1e-6

_ONE = ("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains", "propertyNames")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_COMBINE = frozenset({"anyOf", "oneOf", "allOf", "$ref"})
# What intersects with the schemas of a combination beside it: a narrowed one could leave no value then.
_BESIDE = frozenset({"properties", "patternProperties", "additionalProperties", "required", "items", "prefixItems"}) | {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minProperties")
}
_RANGE = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_IMPLIED = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
}
# Restrictions of single values. A schema that is still refused without them has no simple form.
_DETAILS: tuple[str, ...] = ("pattern", "patternProperties", "format", "propertyNames", "multipleOf", *_RANGE)
_DETAILS += ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

Schema = Mapping[str, Any]


def prepared(schema: Schema, *, strict: bool) -> dict[str, Any]:
    """A copy for llguidance, narrowed. `strict` makes it refuse what it cannot enforce."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(schema))
    # It would look for the meta-schema of an unknown dialect.
    copy.pop("$schema", None)
    found = [place for _, place in _places(copy)]
    for place in found:
        _modernize(place)
        _narrow_patterns(place)
    # `oneOf` without `strict` is read as `anyOf`.
    if not any(_combines(place) or (strict and "oneOf" in place) for place in found):
        for place in found:
            _narrow(place)
    copy["x-guidance"] = {"lenient": not strict, **_OPTIONS}
    return copy


def coarse(schema: Schema) -> dict[str, Any]:
    """`prepared` without restrictions of single values, for a schema that is refused with them."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(schema))
    for _, place in _places(copy):
        for keyword in _DETAILS:
            place.pop(keyword, None)
    return prepared(copy, strict=False)


def inexact(schema: Schema) -> str:
    """Why `strict` cannot hold although llguidance takes the schema, as a clause; empty if it can."""
    for at, place in _places(schema):
        written = [place.get("pattern"), *(place.get("patternProperties") or ())]
        if any(isinstance(pattern, str) and not patterns.is_exact(pattern) for pattern in written):
            return f"{shown(at)} has a pattern with control characters or excluded categories"
        # llguidance allows the same further name twice.
        least, required = place.get("minProperties"), place.get("required")
        if isinstance(least, int) and least > 1 + (len(required) if isinstance(required, list) else 0):
            return f"{shown(at)}/minProperties counts more than one property that is not required"
        # It keeps integers in 64 bits.
        constants = [place.get("const"), *(listed if isinstance(listed := place.get("enum"), list) else ())]
        if any(isinstance(value, float | int) and abs(value) >= 2**63 for value in constants):
            return f"{shown(at)} has a number of more than 64 bits"
        if any(isinstance(bound := place.get(keyword), float) and abs(bound) > _EXACT for keyword in _RANGE):
            return f"{shown(at)} has a bound beyond the integers that are exact as decimal numbers"
    return ""


def located(schema: Schema, problem: str) -> str:
    """llguidance's reason, which has several lines for a pattern, as a clause that names the place in the schema."""
    problem = problem.rpartition("failed to compile JSON schema: ")[2]
    reason = problem.rpartition("error: ")[2].strip().partition("\n")[0].removesuffix(".")
    at, keyword = next(((at, word) for at, inner in _places(schema) if (word := _subject(inner, problem))), ("#", ""))
    if problem.startswith("Unimplemented"):
        reason = f"'{keyword}' cannot be enforced"
    place = f"{at}/{keyword}" if keyword else at
    return f"{shown(place)}: {shown(reason) or 'llguidance refuses it'}"


def _subject(schema: Schema, problem: str) -> str:
    """The keyword that the problem is about; empty if it is not about this schema."""
    if match := re.search(r'Unimplemented keys: \["([^"]+)"', problem):
        return match[1] if match[1] in schema else ""
    if match := re.match(r"(?:Unknown (format)|Invalid (type)): (.+)", problem):
        keyword = match[1] or match[2]
        return keyword if schema.get(keyword) == match[3] else ""
    if "regex parse error" in problem:
        pattern = schema.get("pattern")
        return "pattern" if isinstance(pattern, str) and patterns.narrowed(pattern) in problem else ""
    if problem.startswith("Pointer"):
        reference = schema.get("$ref")
        return "$ref" if isinstance(reference, str) and f"'{reference.lstrip('#')}'" in problem else ""
    return "oneOf" if problem.startswith("oneOf") and "oneOf" in schema else ""


def _places(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Every schema within `schema`, itself included, with its location. References are not followed."""
    left: list[tuple[str, Any]] = [("#", schema)]
    while left:
        at, place = left.pop()
        if not isinstance(place, Mapping):
            continue
        yield at, place
        inner = [(keyword, place[keyword]) for keyword in _ONE if keyword in place]
        for keyword in _SEVERAL:
            if isinstance(listed := place.get(keyword), list):
                inner += [(f"{keyword}/{number}", item) for number, item in enumerate(listed)]
        for keyword in _NAMED:
            if isinstance(named := place.get(keyword), Mapping):
                inner += [(f"{keyword}/{name}", item) for name, item in named.items()]
        left += [(f"{at}/{name}", item) for name, item in reversed(inner)]


def _modernize(schema: dict[str, Any]) -> None:
    """Replace what older drafts wrote otherwise."""
    # Options of llguidance are the runner's, not the client's.
    schema.pop("x-guidance", None)
    for keyword, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(keyword), bool) and schema.pop(keyword) and bound in schema:
            schema[keyword] = schema.pop(bound)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")


def _narrow_patterns(schema: dict[str, Any]) -> None:
    if schema.get("format") in ("date", "date-time") and "pattern" not in schema:
        schema["pattern"] = patterns.DATE
    if isinstance(pattern := schema.get("pattern"), str):
        schema["pattern"] = patterns.narrowed(pattern)
    if isinstance(named := schema.get("patternProperties"), dict):
        schema["patternProperties"] = {patterns.narrowed(pattern): inner for pattern, inner in named.items()}


def _combines(schema: Schema) -> bool:
    """Whether a combination here intersects schemas, so that none of them may be narrowed."""
    combined = _COMBINE & schema.keys()
    listed = schema.get("allOf")
    return (
        len(combined) > 1
        or (isinstance(listed, list) and len(listed) > 1)
        or bool(combined and _BESIDE & schema.keys())
    )


def _narrow(schema: dict[str, Any]) -> None:
    if _COMBINE & schema.keys() or "enum" in schema or "const" in schema:
        return
    if "type" not in schema:
        implied = (kind for kind, names in _IMPLIED.items() if schema.keys() & set(names))
        if (kind := next(implied, None)) is not None:
            schema["type"] = kind
    if schema.get("type") == "integer":
        _bound(schema)
    elif schema.get("type") == "number":
        _round(schema)
    named = schema.get("properties")
    if isinstance(named, dict) and named and _is_closable(schema, named):
        schema["additionalProperties"] = False


def _is_closable(schema: Schema, named: Schema) -> bool:
    required = schema.get("required", [])
    is_open = {"additionalProperties", "patternProperties", "minProperties", "unevaluatedProperties"} & schema.keys()
    return not is_open and isinstance(required, list) and all(name in named for name in required)


def _bound(schema: dict[str, Any]) -> None:
    """Give a range of integers the ends that it lacks."""
    if "multipleOf" in schema or any(not _is_exact(schema[keyword]) for keyword in _RANGE if keyword in schema):
        return
    if not {"minimum", "exclusiveMinimum"} & schema.keys():
        schema["minimum"] = -_EXACT
    if not {"maximum", "exclusiveMaximum"} & schema.keys():
        schema["maximum"] = _EXACT


def _round(schema: dict[str, Any]) -> None:
    """Limit the decimals of a number with a range, for which llguidance allows any count: a reader that rounds could
    find it at a bound that it may not reach."""
    bounds = [schema[keyword] for keyword in _RANGE if keyword in schema]
    plain = all(_is_exact(bound) and (bound == 0 or _SMALL <= abs(bound) <= 1 / _SMALL) for bound in bounds)
    if bounds and plain and "multipleOf" not in schema:
        schema["multipleOf"] = _STEP


def _is_exact(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _EXACT
