"""Translates a regular expression of a JSON schema to GBNF, for the inside of a JSON string. Pure.

Supported: literals, `.`, classes, `\\d \\w \\s` and their opposites, groups, `|`, `* + ? {m,n}`, `^` at the start and
`$` at the end. As in JSON Schema, a pattern without them matches anywhere in the string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LENGTH = 1000
_MAX_REPEAT = 1000
# Characters that a pattern can be about to match: counts inside each other multiply. llama.cpp follows as many
# alternatives for each token at worst; `^([a-z]{1,63}\\.){1,8}[a-z]{2,63}$` has 575.
MAX_POSITIONS = 2000
# A quotation mark, a backslash and control characters are written escaped in JSON and never match a class.
_NEVER = r'"\\\x00-\x1F\x7F'
_CLASSES = {"d": "0-9", "w": "a-zA-Z0-9_", "s": " "}
_SPECIAL = set(".^$*+?()[]{}|\\")
_COUNT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")
_MAX_DEPTH = 20


class PatternError(ValueError):
    """The text completes the sentence "the pattern …"."""


def to_gbnf(text: object) -> str:
    """A GBNF expression. Raises PatternError for a pattern that is not supported."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise PatternError(f"must be a string of at most {MAX_LENGTH} characters")
    starts = text.startswith("^")
    ends = text.endswith("$") and not text.endswith(r"\$")
    body = text[1 if starts else 0 : -1 if ends else None]
    if (starts or ends) and _has_outer_alternative(body):
        raise PatternError("mixes '^' or '$' with '|' outside of a group; write ^(a|b)$")
    parsed = _Parser(body).parse()
    return " ".join(["" if starts else "character*", f"({parsed})", "" if ends else "character*"])


def _has_outer_alternative(body: str) -> bool:
    plain = re.sub(r"\\.|\[(?:\\.|[^\]])*\]", "", body)
    depth = 0
    for character in plain:
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Part:
    """`empty`: whether it matches the empty string, whose repetition never ends in llama.cpp.

    `positions`: the characters that it has, with each counted repetition written out.
    """

    text: str
    empty: bool = False
    positions: int = 1


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> str:
        expression = self._alternatives()
        if self._at < len(self._text):
            raise PatternError(f"has an unexpected '{self._text[self._at]}'")
        if expression.positions > MAX_POSITIONS:
            raise PatternError(
                f"stands for {expression.positions:,} characters when its repetitions are written out, and counts "
                f"inside each other multiply; at most {MAX_POSITIONS:,} are allowed. Use '*' or '+' for the inner ones"
            )
        return expression.text

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise PatternError("ends too early")
        self._at += 1
        return character

    def _alternatives(self) -> _Part:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        empty = any(option.empty for option in options)
        positions = sum(option.positions for option in options)
        return _Part(" | ".join(option.text for option in options), empty, positions)

    def _sequence(self) -> _Part:
        items = []
        while self._peek() not in ("", "|", ")"):
            items.append(self._quantified(self._atom()))
        text = " ".join(item.text for item in items) or '""'
        return _Part(text, all(item.empty for item in items), sum(item.positions for item in items))

    def _quantified(self, part: _Part) -> _Part:
        quantifier, times = self._quantifier()
        if part.empty and quantifier and quantifier != "?":
            raise PatternError("repeats a part that can be empty")
        empty = part.empty or quantifier in ("*", "?") or quantifier.startswith("{0,")
        return _Part(part.text + quantifier, empty, times * part.positions)

    def _quantifier(self) -> tuple[str, int]:
        """A quantifier or '', and how often it writes out its part."""
        quantifier, times = "", 1
        if self._peek() and self._peek() in "*+?":
            quantifier = self._take()
        elif self._peek() == "{":
            quantifier, times = self._counted()
        if quantifier and self._peek() and self._peek() in "+?":
            raise PatternError("uses lazy or possessive quantifiers")
        return quantifier, times

    def _counted(self) -> tuple[str, int]:
        match = _COUNT.match(self._text, self._at)
        if not match:
            raise PatternError("has a malformed repetition")
        self._at = match.end()
        low, high = int(match[1]), match[3] if match[2] else match[1]
        if max(low, int(high or 0)) > _MAX_REPEAT or (high and int(high) < low):
            raise PatternError(f"repeats more than {_MAX_REPEAT} times, or less than no times")
        return f"{{{low},{int(high) if high else ''}}}", max(low, int(high or 0), 1)

    def _atom(self) -> _Part:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return _Part(self._class())
        if character == ".":
            return _Part("character")
        if character == "\\":
            return _Part(self._escaped())
        if character in _SPECIAL:
            raise PatternError(f"has an unexpected '{character}'")
        return _Part(_literal(character))

    def _group(self) -> _Part:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"nests more than {_MAX_DEPTH} groups")
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise PatternError("uses look-around or named groups")
            self._at += 2
        inner = self._alternatives()
        if self._take() != ")":
            raise PatternError("has a group that is not closed")
        self._depth -= 1
        return _Part(f"({inner.text})", inner.empty, inner.positions)

    def _escaped(self) -> str:
        character = self._take()
        if character in _CLASSES:
            return f"[{_CLASSES[character]}]"
        if character.lower() in _CLASSES:
            return f"[^{_CLASSES[character.lower()]}{_NEVER}]"
        return _literal(self._plain_escape(character))

    def _plain_escape(self, character: str) -> str:
        named = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
        if character in named:
            return named[character]
        if character.isalnum():
            raise PatternError(f"uses '\\{character}'")
        return character

    def _class(self) -> str:
        negated = self._peek() == "^"
        self._at += negated
        members = []
        while (character := self._take()) != "]":
            if not (negated and self._is_never(character)):
                members.append(self._member(character))
        if not members and not negated:
            raise PatternError("has an empty class")
        return f"[^{''.join(members)}{_NEVER}]" if negated else f"[{''.join(members)}]"

    def _is_never(self, character: str) -> bool:
        """Skip a quotation mark or backslash in a negated class, which excludes them anyway."""
        if character == "\\" and self._peek() in ("\\", '"'):
            character = self._take()
        return character == '"' or (character == "\\" and self._text[self._at - 2] == "\\")

    def _member(self, character: str) -> str:
        if character == "\\":
            character = self._take()
            if character in _CLASSES:
                return _CLASSES[character]
            character = self._plain_escape(character)
        if character in '"\\' or ord(character) < 32:
            raise PatternError("has a quotation mark, backslash or control character in a class")
        if character == "-" and self._peek() != "]":
            # A hyphen between two characters is read together with the first of them.
            raise PatternError("has a hyphen in a class that is neither a range nor the last")
        if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
            return self._range(character)
        return _in_class(character)

    def _range(self, first: str) -> str:
        self._at += 1
        last = self._take()
        if last == "\\" or last < first or '"' in (first, last) or first <= '"' <= last:
            raise PatternError("has a range that goes backwards or includes a quotation mark")
        if first <= "\\" <= last:
            raise PatternError("has a range that includes a backslash")
        return f"{_in_class(first)}-{_in_class(last)}"


def _literal(character: str) -> str:
    """One character in its JSON string form, as a GBNF literal."""
    written = {'"': r"\"", "\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\f": r"\f"}
    text = written.get(character, character)
    if not text.isprintable():
        raise PatternError("contains a character that is not printable")
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _in_class(character: str) -> str:
    return f"\\{character}" if character in "[]" else character.replace("^", r"\x5E").replace("-", r"\x2D")
