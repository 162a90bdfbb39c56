"""Translates an answer of OpenAI's chat completions to a message of Anthropic's API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.json_body import MAX_DEPTH, depth_exceeds
from models_app.providers.wire import chat_answers

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def translated(body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
    """The message and its usage. Raises ProviderError (`malformed_answer`) unless `body` is a chat completion."""
    choice, message = chat_answers.message_of(body)
    calls = chat_answers.calls_of(message)
    content = list(_blocks(message, calls))
    usage = chat_answers.usage_of(body) or Usage()
    answer = {
        **begun(body, model),
        "content": content,
        "stop_reason": stop_reason(choice, refused=bool(message.get("refusal")), called=bool(calls)),
        "stop_sequence": stop_sequence(choice),
        "usage": usage_object(usage),
    }
    return answer, usage


def begun(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A message before its first content."""
    return {
        "id": f"msg_{chat_answers.name_of(body)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_object(Usage()),
    }


def stop_reason(choice: Mapping[str, Any], *, refused: bool, called: bool) -> str:
    """`called`: the answer has calls. Its clients run them for `tool_use` only, whatever the server says."""
    if refused:
        return "refusal"
    reason = _STOP_REASONS.get(chat_answers.text_of(choice, "finish_reason"), "end_turn")
    if called and reason == "end_turn":
        return "tool_use"
    if stop_sequence(choice) is not None:
        return "stop_sequence"
    return reason


def stop_sequence(choice: Mapping[str, Any]) -> str | None:
    """The stop sequence that ended the answer. OpenAI does not report it; vLLM and SGLang do, in extra fields."""
    found = choice.get("stop_reason", choice.get("matched_stop"))
    return found if isinstance(found, str) and choice.get("finish_reason") == "stop" else None


def usage_object(usage: Usage) -> dict[str, int]:
    """Anthropic's usage object; an unknown count is 0, since the format has no null."""
    cached, written = usage.cached or 0, usage.cache_write or 0
    return {
        "input_tokens": max(0, (usage.prompt or 0) - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion or 0,
    }


def call_id(server_id: str, index: int) -> str:
    """The server's id of a call, or a new one: some servers send none."""
    return server_id or f"toolu_{index}"


def _blocks(message: Mapping[str, Any], calls: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if reasoning := chat_answers.reasoning_of(message):
        yield {"type": "thinking", "thinking": reasoning, "signature": ""}
    text = chat_answers.text_of(message, "content") or chat_answers.text_of(message, "refusal")
    if text:
        yield {"type": "text", "text": text}
    for index, call in enumerate(calls):
        name, arguments = chat_answers.function_of(call)
        yield {
            "type": "tool_use",
            "id": call_id(chat_answers.text_of(call, "id"), index),
            "name": name,
            "input": _input(arguments),
        }


def _input(arguments: str) -> dict[str, Any]:
    """The arguments as an object; {} if they are none, such as those of a call that `max_tokens` cut."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) and not depth_exceeds(value, MAX_DEPTH) else {}
