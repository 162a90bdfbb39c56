"""Writes the grammar of an answer in llguidance's dialect of Lark. Pure.

https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from models_app.engines.runner.grammar.schema import WHITE_SPACE, Schema

# Calls of one answer.
MAX_CALLS = 8
_SPACE = f"SPACE: /({WHITE_SPACE})?/"
# A `head`, which is lazy, ends at the first tag: no tag is free text.
_TEXT = r"TEXT: /(.|\n)*/"


def literal(text: str) -> str:
    """`text` as a literal, control characters escaped."""
    return orjson.dumps(text).decode().replace("\x7f", r"\u007f")


def _json(schema: Schema) -> str:
    return f"%json {orjson.dumps(schema).decode()}"


def value(schema: Schema) -> str:
    """The grammar of JSON that conforms to a prepared schema."""
    return f"start: {_json(schema)}\n"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of tools: the name and the prepared schema of each tool, and the tags around a call.

    `several`: up to `MAX_CALLS`. `free`: none or any number, with any text around them.
    """

    tools: Sequence[tuple[str, Schema]]
    tags: tuple[str, str]
    several: bool
    free: bool


def answer(calls: Calls, output: Schema | None = None) -> str:
    """The grammar of an answer with these calls, or with JSON that conforms to `output`, prepared, instead."""
    opening, closing = (literal(tag) for tag in calls.tags)
    names = [f"call{number}" for number in range(len(calls.tools))]
    call = f"SPACE ({' | '.join(names)}) SPACE {closing}"
    if calls.free:
        lines = ["start: call* tail", "tail: TEXT", _TEXT, f"head[lazy]: TEXT {opening}", f"call: head {call}"]
    else:
        more = f' ("\\n" call){{0,{MAX_CALLS - 1}}}' if calls.several else ""
        other = "" if output is None else f" | {_json(output)}"
        lines = [f"start: call{more}{other}", f"call: {opening} {call}"]
    lines += [f"{name}: {_call(*tool)}" for name, tool in zip(names, calls.tools, strict=True)]
    return "\n".join([*lines, _SPACE]) + "\n"


def _call(name: str, schema: Schema) -> str:
    quoted = literal(orjson.dumps(name).decode())
    pieces = ('"{"', literal('"name":'), quoted, '","', literal('"arguments":'), _json(schema), '"}"')
    return " SPACE ".join(pieces)
