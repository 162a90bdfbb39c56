"""Removes credentials from displayed text: error messages of providers repeat parts of the keys that they refuse."""

from __future__ import annotations

import re

# The formats of API keys, also with stars in them, of tokens, and the text after `Bearer`. Names of models must not
# match.
_CREDENTIAL = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|fw|nvapi|r8|ghp|csk|tgp)[-_][A-Za-z0-9*._-]{6,}|\bnoa_[0-9a-f]{12}_[\w-]+"
    r"|\bAIza[A-Za-z0-9_*-]{20,}|\bAKIA[A-Z0-9*]{12,}|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"
    r"|Bearer\s+\S+|Basic\s+[A-Za-z0-9+/]{12,}={0,2}"
)
# `https://user:password@host`: the part before the @.
_USERINFO = re.compile(r"(?<=://)[^\s/?#@\"']*(?:@[^\s/?#@\"']*)*@")
# `?key=...` in a URL, `api_key: ...` in a text.
_NAMED = re.compile(
    r"((?:[?&](?:key|sig|signature|auth|token|password|secret)|\b(?:x-)?api[-_]?key|\baccess[-_]token|\bclient[-_]secret"
    r"|\bpassword(?==))\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s&\"'\\,;]+",
    re.IGNORECASE,
)


def redacted(text: str, *, secret: str = "", longest: int = 500) -> str:
    """`text` on one line, at most `longest` characters, without `secret` and text in the format of a credential."""
    # Bounded before the search: the text is untrusted, and can be long.
    text = text[: 4 * longest]
    if secret:
        text = text.replace(secret, "[secret]")
    text = _CREDENTIAL.sub("[secret]", _NAMED.sub(r"\1[secret]", _USERINFO.sub("[secret]@", text)))
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest]
