"""Removes credentials from displayed text: error messages of providers repeat parts of the keys that they refuse."""

from __future__ import annotations

import re

# The formats of API keys, also with stars in them, and the text after `Bearer`. Names of models must not match.
_CREDENTIAL = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|fw)[-_][A-Za-z0-9*._-]{6,}|\bnoa_[0-9a-f]{12}_[\w-]+|Bearer\s+\S+"
)


def redacted(text: str, *, secret: str = "", longest: int = 500) -> str:
    """`text` on one line, at most `longest` characters, without `secret` and text in the format of a credential."""
    # Bounded before the search: the text is untrusted, and can be long.
    text = text[: 4 * longest]
    if secret:
        text = text.replace(secret, "[secret]")
    text = _CREDENTIAL.sub("[secret]", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest]
