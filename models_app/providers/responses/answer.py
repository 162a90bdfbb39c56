"""Translates an answer of OpenAI's chat completions to a response of its Responses API.

It does not repeat the request's settings, and states `store: false`: NOA stores no responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError, RateLimited
from models_app.providers.wire import chat_answers

Item = dict[str, Any]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def translated(body: Mapping[str, Any], *, model: str, created: int) -> tuple[dict[str, Any], Usage]:
    """The response and its usage. Raises ProviderError (`malformed_answer`) unless `body` is a chat completion."""
    choice, message = chat_answers.message_of(body)
    name = chat_answers.name_of(body)
    usage = chat_answers.usage_of(body)
    answer = response(name, model=model, created=created)
    output = list(_items(message, name, item_status(choice)))
    return finished(answer, choice, output, usage), usage or Usage()


def response(name: str, *, model: str, created: int) -> dict[str, Any]:
    """A response that has begun."""
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def finished(
    begun: Mapping[str, Any], choice: Mapping[str, Any], output: list[Item], usage: Usage | None
) -> dict[str, Any]:
    reason = _INCOMPLETE.get(chat_answers.text_of(choice, "finish_reason"))
    return {
        **begun,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": usage_object(usage) if usage and usage != Usage() else None,
    }


def failed(begun: Mapping[str, Any], error: NoaError, output: list[Item]) -> dict[str, Any]:
    # OpenAI's codes: its clients accept no others here.
    kind = "rate_limit_exceeded" if isinstance(error, RateLimited) else "server_error"
    failure = {"code": kind, "message": error.message}
    return {**begun, "status": "failed", "error": failure, "output": output}


def item_status(choice: Mapping[str, Any]) -> str:
    return "incomplete" if chat_answers.text_of(choice, "finish_reason") in _INCOMPLETE else "completed"


def usage_object(usage: Usage) -> dict[str, Any]:
    """The usage object of the Responses API; an unknown count is 0, since the format has no null."""
    prompt, completion = usage.prompt or 0, usage.completion or 0
    cache = {"cached_tokens": usage.cached or 0, "cache_write_tokens": usage.cache_write or 0}
    return {
        "input_tokens": prompt,
        "input_tokens_details": cache,
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": prompt + completion,
    }


# The items of an answer. `status` is in_progress, completed or incomplete.


def reasoning_item(name: str, text: str, status: str) -> Item:
    return {
        "id": f"rs_{name}",
        "type": "reasoning",
        "summary": [],
        "content": [reasoning_part(text)],
        "status": status,
    }


def message_item(name: str, parts: list[Item], status: str) -> Item:
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def call_item(name: str, place: int, call_id: str, function: tuple[str, str], status: str) -> Item:
    """`function` is its name and the arguments."""
    return {
        "id": f"fc_{name}_{place}",
        "type": "function_call",
        "call_id": call_id or f"call_{name}_{place}",
        "name": function[0],
        "arguments": function[1],
        "status": status,
    }


def reasoning_part(text: str) -> Item:
    return {"type": "reasoning_text", "text": text}


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def _items(message: Mapping[str, Any], name: str, status: str) -> Iterator[Item]:
    if reasoning := chat_answers.reasoning_of(message):
        yield reasoning_item(name, reasoning, "completed")
    text = chat_answers.text_of(message, "content")
    refusal = chat_answers.text_of(message, "refusal")
    parts = [text_part(text)] if text else []
    parts += [refusal_part(refusal)] if refusal else []
    if parts:
        yield message_item(name, parts, status)
    for place, call in enumerate(chat_answers.calls_of(message)):
        call_id = chat_answers.text_of(call, "id")
        yield call_item(name, place, call_id, chat_answers.function_of(call), status)
