"""Translates an answer of Anthropic's Messages API to a chat completion of OpenAI's API.

Thinking becomes `reasoning_content`, as DeepSeek, vLLM and others name it; `thinking_blocks` holds the same with the
signatures, and a client sends it back in its next turn. The input of the tool that NOA adds for JSON answers becomes
the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import ProviderError
from models_app.providers.anthropic.request import JSON_TOOL
from models_app.providers.wire.chat_answers import text_of

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# No model reads or writes this many tokens: such a count is invalid and is not forwarded.
_MAX_COUNT = 1_000_000_000


def translated(body: Mapping[str, Any], *, model: str, created: int) -> tuple[dict[str, Any], Usage]:
    """The chat completion and its usage. Raises ProviderError (`malformed_answer`) unless `body` is a message."""
    content = body.get("content")
    if not isinstance(content, list):
        raise ProviderError(
            "The provider's answer has no content. Check that its base URL leads to Anthropic's API.",
            code="malformed_answer",
        )
    message = _message([block for block in content if isinstance(block, dict)])
    finish = finish_reason(text_of(body, "stop_reason"), has_calls="tool_calls" in message)
    counts = body.get("usage")
    usage = usage_of(counts if isinstance(counts, dict) else {})
    answer = {
        "id": chat_id(body),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if (counts := usage_object(usage)) is not None:
        answer["usage"] = counts
    return answer, usage


def chat_id(message: Mapping[str, Any]) -> str:
    return f"chatcmpl-{text_of(message, 'id') or 'unknown'}"


def finish_reason(stop_reason: str, *, has_calls: bool) -> str:
    """OpenAI's reason. `tool_use` becomes `stop` when only the tool for JSON answers was called."""
    if stop_reason == "tool_use" and not has_calls:
        return "stop"
    return FINISH_REASONS.get(stop_reason, "stop")


def tool_call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": text_of(block, "name"), "arguments": arguments}
    return {"id": text_of(block, "id"), "type": "function", "function": function}


def arguments_of(block: Mapping[str, Any]) -> str:
    """The input of a call as JSON text; `{}` when it is nested too deeply to serialise."""
    try:
        return orjson.dumps(block.get("input") or {}).decode()
    except orjson.JSONEncodeError:
        return "{}"


def thinking_block(block: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a thinking block that must be sent back with the next turn."""
    kind = text_of(block, "type")
    names = ("thinking", "signature") if kind == "thinking" else ("data",)
    return {"type": kind, **{name: text_of(block, name) for name in names}}


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """OpenAI's prompt count includes cached tokens; Anthropic counts its cache reads and writes separately."""
    plain, cached = _count(counts, "input_tokens"), _count(counts, "cache_read_input_tokens")
    written = _count(counts, "cache_creation_input_tokens")
    details = counts.get("output_tokens_details")
    return Usage(
        prompt=None if plain is None else plain + (cached or 0) + (written or 0),
        completion=_count(counts, "output_tokens"),
        cached=cached,
        cache_write=written,
        reasoning=_count(details, "thinking_tokens") if isinstance(details, dict) else None,
    )


def first_counts(counts: object) -> dict[str, Any]:
    """The usage of a stream's first event without that of the answer, which has only begun."""
    return {name: n for name, n in counts.items() if name != "output_tokens"} if isinstance(counts, dict) else {}


def known_counts(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an event that replace the counts of earlier ones: they are cumulative, and some make no sense."""
    return {name: n for name, n in counts.items() if isinstance(n, dict) or _count(counts, name) is not None}


def usage_object(usage: Usage) -> dict[str, Any] | None:
    """OpenAI's usage object; None when the counts are unknown."""
    if usage.prompt is None or usage.completion is None:
        return None
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
    }


def _count(counts: Mapping[str, Any], name: str) -> int | None:
    value = counts.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _message(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message of a choice; its content is null when there are calls and no text."""
    texts: list[str] = []
    thoughts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(text_of(block, "text"))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(thinking_block(block))
        elif kind == "tool_use":
            arguments = arguments_of(block)
            if block.get("name") == JSON_TOOL:
                texts = [arguments]
            else:
                calls.append(tool_call(block, arguments))
    found: dict[str, Any] = {"role": "assistant", "content": "".join(texts), "refusal": None}
    if calls:
        found["tool_calls"] = calls
        found["content"] = found["content"] or None
    if thoughts:
        found["reasoning_content"] = "".join(thought.get("thinking", "") for thought in thoughts)
        found["thinking_blocks"] = thoughts
    return found
