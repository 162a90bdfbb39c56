"""Errors in the format of Anthropic's API."""

from __future__ import annotations

import re
from typing import Any

from models_app.domain.errors import ContextLengthExceeded, NoaError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# A provider's own type is kept if clients know it.
_KNOWN = frozenset({*_TYPES.values(), "api_error"})


# OpenAI's words, which runners and compatible servers use: the context, all tokens, and those of the answer.
_CONTEXT = re.compile(r"maximum context length is ([\d,]+)")
_TOKENS = re.compile(r"(?:requested|resulted in|has|has more than) (?:about )?([\d,]+) tokens")
_ANSWER = re.compile(r"([\d,]+) (?:for the answer|in the completion)")


def _overflow(message: str) -> str:
    """In the words of Anthropic's API, by which its clients know that they must shorten the conversation."""
    limit, tokens, answer = _CONTEXT.search(message), _TOKENS.search(message), _ANSWER.search(message)
    if limit is None or tokens is None:
        return f"prompt is too long: {message}"
    context, asked = _number(limit[1]), _number(tokens[1])
    prompt = asked - (_number(answer[1]) if answer else 0)
    if answer and prompt <= context:
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {asked - prompt} > {context}, decrease "
            "input length or `max_tokens` and try again"
        )
    return f"prompt is too long: {prompt} tokens > {context} maximum"


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def anthropic_error(error: NoaError, request_id: str | None = None) -> dict[str, Any]:
    """The error object. `code` and `param` are additions of NOA: clients of this API ignore them."""
    kind = error.details.get("provider_type")
    if kind not in _KNOWN:
        kind = _TYPES.get(error.http_status, "invalid_request_error" if error.http_status < 500 else "api_error")
    payload: dict[str, Any] = {"type": kind}
    message = _overflow(error.message) if error.code == ContextLengthExceeded.default_code else error.message
    payload |= {"message": message, "code": error.code, "param": error.param}
    return {"type": "error", "error": payload, "request_id": request_id}
