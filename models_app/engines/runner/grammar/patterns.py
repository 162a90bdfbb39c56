"""Works around faults of llguidance 1.9 in the texts of JSON schemas. Pure.

A class of characters that contains control characters also allows an escaped quotation mark and backslash, though it
excludes them: `[^"]` matches `\\"`. A date may be February 29 of any year.
"""

from __future__ import annotations

import re

# A class or an escape of a pattern.
_PIECE = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])+\]", re.DOTALL)
# The inside of a negated class that excludes neither a quotation mark nor a backslash.
_HARMLESS = re.compile(r"(?:[a-zA-Z0-9]-[a-zA-Z0-9]|\\[wdsnrtf.\-/^$*+?(){}|]|[^\"\\\-\[\]])*-?", re.DOTALL)
# What can make a class of control characters without these two, other than a negated class. Rare.
_UNSURE = re.compile(r"\\P|\\p\{?\^?C|\\x0|\\x\{0|\\u00[01]|[\x00-\x1f]|\[:|&&|--|~~")

_LEAP = r"(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
# The beginning of a date that exists, where its day is one of its month.
DATE = rf"^(\d{{4}}-(0[13-9]|1[0-2])-|\d{{4}}-02-([01]\d|2[0-8])|{_LEAP}-02-29)"


def narrowed(pattern: str) -> str:
    """`pattern`, of which negated classes that exclude a quotation mark or backslash match no control character."""

    def narrow(found: re.Match[str]) -> str:
        text = found[0]
        if not text.startswith("[^") or _HARMLESS.fullmatch(text, 2, len(text) - 1):
            return text
        return rf"[^\x00-\x1f{text[2:]}"

    return _PIECE.sub(narrow, pattern)


def is_exact(pattern: str) -> bool:
    """Whether llguidance allows no more than `pattern`, narrowed, does."""
    return not _UNSURE.search(pattern)
