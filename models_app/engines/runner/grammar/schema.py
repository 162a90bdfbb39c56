"""Translates JSON Schema to GBNF, llama.cpp's grammar language. Pure; no reference is ever fetched.

Enforced: `type` (also a list), `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `minItems`,
`maxItems`, `enum`, `const`, `anyOf`, `oneOf` (read as anyOf), `allOf` of objects, `$ref` within the schema (also
recursive), `minLength`, `maxLength`, `pattern`, `format` (date, time, date-time, uuid). Objects have only the named
properties, in that order, unless `additionalProperties` allows more: with an open object a small model can continue
without end. Other keywords that restrict values are rejected with `strict` and ignored without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import shown
from models_app.engines.runner.grammar import gbnf, pattern
from models_app.engines.runner.grammar.bounds import Bounds

# llama.cpp expands repetitions, and rejects more than 2,000.
MAX_REPEAT = 1000
# Rules of one grammar, and their characters. A schema of 64 KiB stays far below, unless it is built to expand.
_MAX_RULES = 5000
_MAX_TEXT = 512 * 1024
# Parts that are translated, each as often as it is reached.
_MAX_VISITS = 20_000
# llama.cpp compares each token with every alternative that is open: with more, one token takes longer than a second.
MAX_VALUES = 2000
MAX_OPTIONS = 500
MAX_OPTIONAL = 500
_UNENFORCED = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "patternProperties",
        "not",
        "if",
        "then",
        "else",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$dynamicRef",
        "$recursiveRef",
    }
)

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

Schema = Mapping[str, Any]


class Grammar:
    """The rules of a grammar by name. `add` translates a schema and returns the name of its rule.

    Raises InvalidRequest (`invalid_schema`), which names the keyword and its location.
    """

    def __init__(self) -> None:
        self._param = ""
        self._strict = False
        self._rules: dict[str, str] = dict(gbnf.BASE)
        self._references: dict[tuple[int, str], str] = {}
        self._root: Schema = {}
        self._length = self._visits = 0

    def add(self, schema: Schema, *, param: str, strict: bool = False) -> str:
        """The rule for JSON that conforms to `schema`, in which `$ref`s are resolved. Errors name `param`."""
        self._root, self._param, self._strict = schema, param, strict
        Bounds(lambda reference: self._resolve(reference, reference), self._error).check(schema)
        try:
            return self._visit(schema, "#")
        except RecursionError:
            raise self._error("#", "follows too many references") from None

    def rule(self, body: str, name: str = "r") -> str:
        """A new rule with this body; returns its name."""
        self._length += len(body)
        if len(self._rules) >= _MAX_RULES or self._length > _MAX_TEXT:
            raise self._error("#", "is too large: it has more rules than an answer can need. Use fewer parts")
        unique = f"{name}{len(self._rules)}"
        self._rules[unique] = body
        return unique

    def text(self, root: str) -> str:
        """The whole grammar with `root` as its start rule."""
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        return "\n".join(lines) + "\n"

    def _error(self, at: str, problem: str) -> InvalidRequest:
        return InvalidRequest(
            f"The schema cannot be used: {shown(at)} {problem}.",
            code="invalid_schema",
            param=self._param,
        )

    def _visit(self, schema: Any, at: str) -> str:
        self._visits += 1
        if self._visits > _MAX_VISITS:
            raise self._error(at, "is too large: its parts are repeated too often. Use fewer parts")
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, dict):
            raise self._error(at, "must be an object")
        if self._strict and (unknown := sorted(_UNENFORCED & schema.keys())):
            raise self._error(at, f"uses '{unknown[0]}', which 'strict' cannot enforce here")
        for keyword, build in self._by_keyword():
            if keyword in schema:
                return build(schema, at)
        return self._typed(schema, at)

    def _by_keyword(self) -> tuple[tuple[str, Callable[[Schema, str], str]], ...]:
        """Keywords that determine a schema alone, in order of precedence."""
        return (
            ("$ref", self._reference),
            ("const", lambda schema, at: self.rule(self._constant(schema["const"]))),
            ("enum", self._enumeration),
            ("anyOf", lambda schema, at: self._any(schema["anyOf"], f"{at}/anyOf")),
            ("oneOf", lambda schema, at: self._any(schema["oneOf"], f"{at}/oneOf")),
            ("allOf", self._all),
        )

    def _typed(self, schema: Schema, at: str) -> str:
        kind = schema.get("type", _implied_type(schema))
        if kind is None:
            return "value"
        if isinstance(kind, list):
            return self._any([{**schema, "type": name} for name in kind], f"{at}/type")
        if kind not in _TYPES:
            raise self._error(f"{at}/type", "must be one of " + ", ".join(_TYPES))
        if kind == "object":
            return self._object(schema, at)
        if kind == "array":
            return self._array(schema, at)
        return self._string(schema, at) if kind == "string" else str(kind)

    def _reference(self, schema: Schema, at: str) -> str:
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise self._error(f"{at}/$ref", "must point into the schema itself ('#/...')")
        key = (id(self._root), reference)
        if key not in self._references:
            target = self._resolve(reference, f"{at}/$ref")
            # Named before its body is known, so that a schema can refer to itself.
            name = self._references[key] = self.rule("", "ref")
            self._rules[name] = self._visit(target, reference)
            self._refuse_empty_loop(name, f"{at}/$ref")
        return self._references[key]

    def _refuse_empty_loop(self, start: str, at: str) -> None:
        """Reject references that lead back to themselves without a value in between."""
        seen, name = {start}, self._rules[start]
        while name in self._rules:
            if name in seen:
                raise self._error(at, "refers to itself in a circle")
            seen.add(name)
            name = self._rules[name]

    def _resolve(self, reference: str, at: str) -> Any:
        target: Any = self._root
        for step in filter(None, reference.removeprefix("#").split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and step in target:
                target = target[step]
            elif isinstance(target, list) and step.isdigit() and int(step) < len(target):
                target = target[int(step)]
            else:
                raise self._error(at, f"points to '{shown(reference)}', which does not exist")
        return target

    def _constant(self, value: Any) -> str:
        return f"{gbnf.literal(orjson.dumps(value).decode())} space"

    def _enumeration(self, schema: Schema, at: str) -> str:
        values = schema["enum"]
        if not isinstance(values, list) or not values:
            raise self._error(f"{at}/enum", "must be a list that is not empty")
        if len(values) > MAX_VALUES:
            raise self._error(f"{at}/enum", f"has {len(values):,} values; at most {MAX_VALUES:,} can be enforced")
        return self.rule(" | ".join(self._constant(value) for value in values))

    def _any(self, options: Any, at: str) -> str:
        if not isinstance(options, list) or not options:
            raise self._error(at, "must be a list that is not empty")
        if len(options) > MAX_OPTIONS:
            raise self._error(at, f"has {len(options):,} options; at most {MAX_OPTIONS} can be enforced. Merge some")
        names = (self._visit(option, f"{at}/{index}") for index, option in enumerate(options))
        return self.rule(" | ".join(dict.fromkeys(names)))

    def _all(self, schema: Schema, at: str) -> str:
        parts = schema["allOf"]
        if not isinstance(parts, list) or not parts:
            raise self._error(f"{at}/allOf", "must be a list that is not empty")
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        merged: dict[str, Any] = {}
        for index, part in enumerate([*parts, rest]):
            merged = self._merged(merged, part, f"{at}/allOf/{index}")
        return self._visit(merged, at)

    def _merged(self, merged: dict[str, Any], part: Any, at: str) -> dict[str, Any]:
        hops = 0
        while isinstance(part, dict) and "$ref" in part and hops < 32:
            part, hops = self._resolve(str(part["$ref"]), at), hops + 1
        if not isinstance(part, dict) or "$ref" in part:
            raise self._error(at, "must be an object")
        both = {**merged, **part}
        for key in ("properties", "$defs"):
            if isinstance(merged.get(key), dict) and isinstance(part.get(key), dict):
                both[key] = {**merged[key], **part[key]}
        if isinstance(merged.get("required"), list) and isinstance(part.get("required"), list):
            both["required"] = [*merged["required"], *part["required"]]
        return both

    def _object(self, schema: Schema, at: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict):
            raise self._error(f"{at}/properties", "must be an object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self._error(f"{at}/required", "must be a list of names")
        extra = schema.get("additionalProperties", not properties and not required)
        missing: Schema = {name: {} for name in required if name not in properties}
        if not properties and not missing and extra is True:
            return "object"
        pairs = {
            name: self._pair(name, body, f"{at}/properties/{name}") for name, body in {**properties, **missing}.items()
        }
        named = frozenset(required)
        needed = [name for name in pairs if name in named]
        optional = [pairs[name] for name in pairs if name not in named]
        if len(optional) > MAX_OPTIONAL:
            raise self._error(
                f"{at}/properties",
                f"has {len(optional):,} optional names; at most {MAX_OPTIONAL} can be enforced. List the others in "
                "'required'",
            )
        if extra not in (False, None):
            optional.append(self._extra_pairs(extra, f"{at}/additionalProperties"))
        members = self._members([pairs[name] for name in needed], optional)
        return self.rule(f'"{{" space {members} "}}" space')

    def _pair(self, name: str, schema: Any, at: str) -> str:
        key = gbnf.literal(orjson.dumps(name).decode())
        return self.rule(f'{key} space ":" space {self._visit(schema, at)}')

    def _extra_pairs(self, schema: Any, at: str) -> str:
        pair = self.rule(f'string ":" space {self._visit(schema, at)}')
        return self.rule(f'{pair} ("," space {pair})*')

    def _members(self, needed: Sequence[str], optional: Sequence[str]) -> str:
        """The required pairs, then any of the optional ones, with commas only between present pairs."""
        after, first = "", ""
        for pair in reversed(optional):
            # `first` begins a list with some pair of the rest, `after` continues one.
            first = self.rule(f"{pair} {after} | {first}" if first else pair)
            after = self.rule(f'("," space {pair})? {after}')
        if not needed:
            return f"{first}?" if first else ""
        return f"{_joined(needed)} {after}"

    def _array(self, schema: Schema, at: str) -> str:
        low, high = self._bounds(schema, "minItems", "maxItems", at)
        fixed = schema.get("prefixItems", [])
        items = schema.get("items", not fixed)
        if isinstance(items, list):
            fixed, items = items, schema.get("additionalItems", False)
        if not isinstance(fixed, list):
            raise self._error(f"{at}/prefixItems", "must be a list")
        if fixed:
            names = [self._visit(item, f"{at}/prefixItems/{n}") for n, item in enumerate(fixed)]
            return self.rule(f'"[" space {_joined(names)} "]" space')
        if items is False:
            return self.rule('"[" space "]" space')
        item = self._visit(items, f"{at}/items")
        return self.rule(f'"[" space {_repeated(item, low, high)} "]" space')

    def _string(self, schema: Schema, at: str) -> str:
        low, high = self._bounds(schema, "minLength", "maxLength", at)
        if "pattern" in schema:
            try:
                content = pattern.to_gbnf(schema["pattern"])
            except pattern.PatternError as error:
                raise self._error(f"{at}/pattern", str(error)) from None
            return self.rule(rf'"\"" {content} "\"" space')
        if schema.get("format") in gbnf.FORMATS:
            return self.rule(rf'"\"" {gbnf.FORMATS[schema["format"]]} "\"" space')
        if low == 0 and high is None:
            return "string"
        count = f"{{{low},{'' if high is None else high}}}"
        return self.rule(rf'"\"" character{count} "\"" space')

    def _bounds(self, schema: Schema, low: str, high: str, at: str) -> tuple[int, int | None]:
        least, most = schema.get(low, 0), schema.get(high)
        for name, value in ((low, least), (high, most)):
            if value is not None and (type(value) is not int or not 0 <= value <= MAX_REPEAT):
                raise self._error(f"{at}/{name}", f"must be a whole number from 0 to {MAX_REPEAT}")
        if most is not None and most < least:
            raise self._error(f"{at}/{high}", f"is smaller than {low}")
        return least, most


def _implied_type(schema: Schema) -> str | None:
    keywords = {
        "object": ("properties", "required", "additionalProperties"),
        "array": ("items", "prefixItems", "minItems", "maxItems"),
        "string": ("pattern", "minLength", "maxLength", "format"),
    }
    return next((kind for kind, names in keywords.items() if schema.keys() & set(names)), None)


def _joined(names: Iterable[str]) -> str:
    return ' "," space '.join(names)


def _repeated(item: str, low: int, high: int | None) -> str:
    """`low` to `high` items with commas between them."""
    if high == 0:
        return ""
    more = f'("," space {item}){{{max(low - 1, 0)},{"" if high is None else high - 1}}}'
    return f"{item} {more}" if low else f"({item} {more})?"
