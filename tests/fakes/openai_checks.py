"""Checks of request bodies as OpenAI makes them, for mistakes that NOA could make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.fakes.provider_faults import Refusal

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHAT_FIELDS = frozenset(
    {
        "model",
        "messages",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_COMPLETION = frozenset(
    {
        "model",
        "prompt",
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "top_p",
        "user",
    }
)
_EMBEDDING = frozenset(("model", "input", "dimensions", "encoding_format", "user"))
_ROLES = ("developer", "system", "user", "assistant", "tool")


def _invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    return Refusal(400, "invalid_request_error", message, code, param)


def check_chat(body: Mapping[str, Any]) -> Refusal | None:
    return _check_names(body, CHAT_FIELDS) or _check_options(body) or _check_messages(body)


def check_completion(body: Mapping[str, Any]) -> Refusal | None:
    if not isinstance(body.get("prompt"), str | list):
        return _invalid("Missing required parameter: 'prompt'.", "prompt")
    return _check_names(body, _COMPLETION) or _check_options(body)


def check_embeddings(body: Mapping[str, Any]) -> Refusal | None:
    if not isinstance(body.get("input"), str | list) or not body["input"]:
        return _invalid("'$.input' is invalid.", "input")
    return _check_names(body, _EMBEDDING)


def _check_names(body: Mapping[str, Any], known: frozenset[str]) -> Refusal | None:
    for name in body:
        if name not in known:
            return _invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    return None


def _check_options(body: Mapping[str, Any]) -> Refusal | None:
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("n", 1, 128)):
        value = body.get(name)
        if value is not None and not low <= value <= high:
            return _invalid(f"Invalid '{name}': expected a value from {low} to {high}.", name)
    if body.get("stream_options") is not None and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return _invalid(message, "stream_options")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        return _invalid("Setting 'max_tokens' and 'max_completion_tokens' is not supported.")
    if body.get("tool_choice") is not None and not body.get("tools"):
        return _invalid("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    return _check_tools(body.get("tools") or [])


def _check_tools(tools: list[Any]) -> Refusal | None:
    for index, tool in enumerate(tools):
        name = tool.get("function", {}).get("name")
        if tool.get("type") != "function" or not isinstance(name, str):
            return _invalid(f"Missing required parameter: 'tools[{index}].function'.", "tools")
        if not _NAME.fullmatch(name):
            return _invalid(f"Invalid 'tools[{index}].function.name': '{name}'.", "tools")
    return None


def _check_messages(body: Mapping[str, Any]) -> Refusal | None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return _invalid("Missing required parameter: 'messages'.", "messages")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        place = f"messages.[{index}]"
        role = message.get("role")
        if role not in _ROLES:
            return _invalid(f"Invalid value: '{role}'.", f"{place}.role", "invalid_value")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                return _invalid(text, f"{place}.role")
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            text = "An assistant message with 'tool_calls' must be followed by tool messages"
            return _invalid(f"{text} responding to each 'tool_call_id'.", f"{place}.role")
        open_calls |= {call["id"] for call in message.get("tool_calls") or ()}
        if refusal := _check_content(message, f"{place}.content"):
            return refusal
    return None


def _check_content(message: Mapping[str, Any], place: str) -> Refusal | None:
    content = message.get("content")
    for call in message.get("tool_calls") or ():
        try:
            json.loads(call["function"]["arguments"])
        except (TypeError, KeyError, ValueError):
            return _invalid("Invalid tool call.", place)
    if content is None:
        may = message["role"] == "assistant"
        return None if may else _invalid("expected a string, got null.", place)
    if isinstance(content, str):
        return None
    for part in content:
        if part.get("type") == "image_url":
            url = part.get("image_url", {}).get("url", "")
            if message["role"] != "user" or not url.startswith(("https://", "http://", "data:")):
                return _invalid("Invalid image.", place, "invalid_image_url")
        elif part.get("type") not in ("text", "refusal", "input_audio", "file"):
            return _invalid(f"Invalid value: '{part.get('type')}'.", place, "invalid_value")
    return None
