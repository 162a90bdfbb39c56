"""Prepares the data of a request for records: no secrets, no bytes that a database refuses, bounded size."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LEFT_OUT = "(left out)"

# The limit of a call's arguments; bodies of this API are far smaller, and a larger one must not fill the table.
MAX_BYTES = 4096
_MAX_TEXT = 500
_MAX_NAMES = 50

_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|authorization|credential|cookie|bearer|token$|pwd$"
    r"|(?:api|private|access|encryption|signing)[_-]?key"
)
# Names of fields with the place of a secret, with its presence, or with its public part.
_HARMLESS_NAME = re.compile(r"(?:_env|_set|_id)$")
_SECRET_TEXT = re.compile(
    r"\bnoa_[0-9a-f]{12}_[\w-]+"  # NOA's own keys
    r"|\bsk-[\w-]{12,}"  # those of OpenAI, Anthropic and compatible providers
    r"|(?<=bearer )\S+"
    r"|(?<=://)[^/\s@]+(?=@)"  # user and password of an address
    r"|(?<=[?&]key=)[^&\s]+|(?<=[?&]token=)[^&\s]+",
    re.IGNORECASE,
)


def without_secrets(value: Any) -> Any:
    """The same value with secrets, by their name or form, replaced by `(left out)` at any depth."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(LEFT_OUT, value)
    if isinstance(value, Mapping):
        return {
            without_secrets(str(name)): LEFT_OUT if _is_secret(str(name), item) else without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "", [], {}) or isinstance(value, bool):
        return False
    lower = name.lower()
    return bool(_SECRET_NAME.search(lower)) and not _HARMLESS_NAME.search(lower)


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, for which PostgreSQL refuses a row and its whole batch."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def for_record(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for storage: without secrets, at most about `MAX_BYTES` of JSON."""
    kept: dict[str, Any] = _shortened(without_secrets(arguments))
    size = len(json.dumps(kept))
    if size <= MAX_BYTES:
        return kept
    names = [name[:100] for name in list(kept)[:_MAX_NAMES]]
    return {"left_out": "too large", "bytes": size, "names": names}


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        cut = storable(value[:_MAX_TEXT])
        return cut if len(value) <= _MAX_TEXT else f"{cut}…"
    if isinstance(value, dict):
        return {storable(name[:_MAX_TEXT]): _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value if isinstance(value, int | float | None) else str(value)
