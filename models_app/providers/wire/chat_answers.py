"""Reads answers of OpenAI's chat completions defensively: some servers with the same API deviate from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import ProviderError

Value = Mapping[str, Any]

# No model reads or writes this many tokens: such a count is invalid, and neither forwarded nor stored.
_MAX_COUNT = 1_000_000_000


def name_of(body: Value) -> str:
    """The answer's id without its prefix, for the ids of the translated answer."""
    return (text_of(body, "id") or "unknown").removeprefix("chatcmpl-").removeprefix("msg_")


def message_of(body: Value) -> tuple[Value, Value]:
    """The first choice of a whole answer, and its message. Raises ProviderError (`malformed_answer`)."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ProviderError(
            "The provider's answer has no message. Check that its base URL leads to an API like OpenAI's.",
            code="malformed_answer",
        )
    return choice, message


def delta_of(chunk: Value) -> tuple[Value, Value]:
    """The first choice of a chunk, and its delta; both are empty in a chunk that only reports usage."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return {}, {}
    delta = choice.get("delta")
    return choice, delta if isinstance(delta, dict) else {}


def calls_of(message: Value) -> list[Value]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def function_of(call: Value) -> tuple[str, str]:
    """Name and arguments of a call or of a part of one; empty if it has none."""
    function = call.get("function")
    if not isinstance(function, dict):
        return "", ""
    return text_of(function, "name"), text_of(function, "arguments")


def reasoning_of(message: Value) -> str:
    """`reasoning_content`, or `reasoning` as OpenRouter and newer vLLM name it."""
    return text_of(message, "reasoning_content") or text_of(message, "reasoning")


def text_of(value: Value, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def usage_of(body: Value) -> Usage | None:
    """The counts of an answer or a chunk; None when it has none."""
    counts = body.get("usage")
    if not isinstance(counts, dict):
        return None
    return counted(counts)


def counted(counts: Value) -> Usage:
    """The counts of a usage object of OpenAI or a compatible server. Embeddings have no completion."""
    return Usage(
        prompt=tokens(counts, "prompt_tokens"),
        completion=tokens(counts, "completion_tokens"),
        cached=detail(counts, "prompt_tokens_details", "cached_tokens"),
        cache_write=detail(counts, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=detail(counts, "completion_tokens_details", "reasoning_tokens"),
    )


def detail(counts: Value, group: str, name: str) -> int | None:
    """A count in `prompt_tokens_details` or `completion_tokens_details`."""
    details = counts.get(group)
    return tokens(details, name) if isinstance(details, dict) else None


def tokens(counts: Value, name: str) -> int | None:
    """One count; None when it is absent or invalid."""
    value = counts.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None
