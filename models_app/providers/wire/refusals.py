"""Reads the error body of a provider, and whether it is about NOA's credentials or about the request.

Only fields that a provider chooses decide: a message can repeat the prompt of a client, who could then have the
credentials counted as refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MAX_PARAM = 100
# Of a message that is a list of objects, as FastAPI writes it.
_MAX_DEPTH = 4
# An error is a sentence or two; of a longer one this much is read.
MAX_BYTES = 64 * 1024

# Codes and types that say that the credentials are refused, in lower case with underscores.
_ABOUT_KEY = re.compile(
    r"(?:invalid|incorrect|expired|missing|revoked|disabled|unknown|bad|no)_(?:x_)?(?:api_?)?"
    r"(?:key|credentials?|auth|authentication|authorization|access_token|auth_token)"
    r"|(?:x_)?(?:api_?)?(?:key|credentials?)_(?:not_)?(?:invalid|valid|expired|missing|revoked|disabled|found)"
    r"|auth(?:entication)?_?(?:error|failed|failure|required)"
    r"|unauthenticated|unauthori[sz]ed|account_(?:deactivated|suspended|disabled|closed)"
)
# Those that say that the request, its model, or the right to it is refused.
_ABOUT_REQUEST = re.compile(
    r"model|content|moderation|safety|policy|prompt|input|region|country|permission|forbidden|feature|scope|plan"
    r"|quota|billing|credit|balance"
)
# Whole messages of servers that answer 403 without a code. A prompt within a longer message does not match.
_KEY_MESSAGE = re.compile(
    r"(?:not authenticated|unauthori[sz]ed|invalid authentication credentials"
    r"|(?:the |your )?(?:invalid|incorrect|missing|expired|wrong|bad) (?:api[ -]?)?(?:key|credentials|token)"
    r"(?: provided)?"
    r"|(?:the |your )?api[ -]?key (?:is )?(?:not valid|invalid|missing|expired|revoked|disabled|required))",
    re.IGNORECASE,
)
# The statuses of errors that arrive within an answer of status 200, by their type.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "content_filter": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The fields of a provider's error, not yet scrubbed; '' and None are missing ones."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    # Set by servers that report errors within an answer of status 200.
    status: int | None = None


def read(body: bytes) -> Refusal:
    """The error in a body of any usual shape: OpenAI's, Anthropic's, Google's, FastAPI's, plain text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:2000].decode("utf-8", "replace").strip()
        # A page does not explain the error, nor does the beginning of an object.
        return Refusal() if text.startswith(("<", "{", "[")) else Refusal(text)
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return Refusal(value)
    return of_object(value) if isinstance(value, dict) else Refusal()


def of_object(value: Mapping[str, Any]) -> Refusal:
    """The error in an object that is it, or has it in a field."""
    error = value.get("error", value)
    if isinstance(error, str):
        error = {**value, "message": error}
    if not isinstance(error, dict):
        error = value
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    kind = _name(error.get("type")) or _name(error.get("status"))
    return Refusal(
        _message(error) or _message(value),
        kind,
        _name(code),
        _param(error.get("param")),
        status or _STATUS_OF_TYPE.get(kind or ""),
    )


def is_about_credentials(status: int, refusal: Refusal) -> bool:
    """Whether the provider refuses NOA's credentials, so that every other request would fail too.

    A 401 is about them unless its code says otherwise; a 403 only if its code, its type or its whole message says so.
    """
    if status not in (401, 403):
        return False
    names = [_plain(name) for name in (refusal.code, refusal.type) if name]
    if any(_ABOUT_REQUEST.search(name) for name in names):
        return False
    if status == 401 or any(_ABOUT_KEY.fullmatch(name) for name in names):
        return True
    return _KEY_MESSAGE.fullmatch(refusal.message.strip(" .!\n")) is not None


def _message(error: Mapping[str, Any]) -> str:
    for field in ("message", "detail", "error_description", "msg", "errors"):
        found = _text(error.get(field))
        if found:
            return found
    return ""


def _text(value: object, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "; ".join(text for one in value[:10] if (text := _text(one, depth + 1)))
    if isinstance(value, dict):
        return _text(value.get("message") or value.get("msg") or value.get("error"), depth + 1)
    return ""


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _param(value: object) -> str | None:
    return value[:_MAX_PARAM] if isinstance(value, str) and value.isprintable() else None


def _plain(name: str) -> str:
    return re.sub(r"[.-]", "_", name).lower()
