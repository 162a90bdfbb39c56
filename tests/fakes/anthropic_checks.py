"""Checks of request bodies as Anthropic makes them, for mistakes that NOA could make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.anthropic_answers import SIGNATURE
from tests.fakes.provider_faults import Refusal

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
# The types of tools that Anthropic defines.
_SERVED = re.compile(r"(web_search|web_fetch|code_execution|bash|text_editor|memory|computer)_20[0-9]{6}")
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "mcp_servers",
        "metadata",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_BLOCKS: dict[str, frozenset[str]] = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "title", "context", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# The smallest budget that the API accepts.
_MIN_BUDGET = 1024

Check = Callable[[Mapping[str, Any]], str | None]


def check_messages(body: Mapping[str, Any], *, counting: bool = False) -> Refusal | None:
    """The refusal of a body, or None. `counting`: the path that counts tokens, which needs no `max_tokens`."""
    if "max_tokens" not in body and not counting:
        return _refusal("max_tokens: Field required")
    for check in (_names, _numbers, _tools, _thinking, _system, _messages, _pairs):
        if message := check(body):
            return _refusal(message)
    return None


def _refusal(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)


def _names(body: Mapping[str, Any]) -> str | None:
    for name in body:
        if name not in _KNOWN:
            return f"{name}: Extra inputs are not permitted"
    return None


def _numbers(body: Mapping[str, Any]) -> str | None:
    if not 1 <= body.get("max_tokens", 1) <= 64_000:
        return "max_tokens: must be between 1 and 64000"
    if not 0 <= body.get("temperature", 1) <= 1:
        return "temperature: range: 0..1"
    if any(not word.strip() for word in body.get("stop_sequences") or ()):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    return None


def _tools(body: Mapping[str, Any]) -> str | None:
    for index, tool in enumerate(body.get("tools") or ()):
        if _SERVED.fullmatch(tool.get("type", "")):
            continue
        if not _NAME.fullmatch(tool.get("name", "")):
            return f"tools.{index}.custom.name: String should match pattern"
        if tool.get("input_schema", {}).get("type") != "object":
            return f"tools.{index}.custom.input_schema.type: Field required"
        if extra := tool.keys() - {
            "name",
            "description",
            "input_schema",
            "cache_control",
            "type",
            "strict",
        }:
            return f"tools.{index}.custom.{min(extra)}: Extra inputs are not permitted"
    choice = body.get("tool_choice")
    if choice and choice.get("type") != "none" and not body.get("tools"):
        return "tool_choice: may only be specified while providing tools"
    return None


def _thinking(body: Mapping[str, Any]) -> str | None:
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "disabled":
        return None
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens", 0)
        if budget < _MIN_BUDGET:
            return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if budget >= body.get("max_tokens", budget + 1):
            return "`max_tokens` must be greater than `thinking.budget_tokens`"
    if body.get("temperature", 1) != 1:
        return "`temperature` may only be set to 1 when thinking is enabled"
    if body.get("top_k") is not None:
        return "`top_k` must be unset when thinking is enabled"
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        return "Thinking may not be enabled when tool_choice forces tool use."
    return _thinking_kept(body)


def _thinking_kept(body: Mapping[str, Any]) -> str | None:
    """A turn that continues after a tool call must repeat its thinking block."""
    turns = [each for each in body.get("messages") or () if each.get("role") == "assistant"]
    blocks = turns[-1]["content"] if turns and isinstance(turns[-1]["content"], list) else []
    called = any(block.get("type") == "tool_use" for block in blocks)
    if called and blocks[0].get("type") not in ("thinking", "redacted_thinking"):
        return "Expected `thinking` or `redacted_thinking`, but found `tool_use`."
    return None


def _system(body: Mapping[str, Any]) -> str | None:
    system = body.get("system")
    if system is None or isinstance(system, str):
        return None
    return _blocks(system, "system", ("text",))


def _messages(body: Mapping[str, Any]) -> str | None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    if messages[0].get("role") != "user":
        return 'messages: first message must use the "user" role'
    for index, message in enumerate(messages):
        place, role = f"messages.{index}", message.get("role")
        if role not in ("user", "assistant", "system"):
            return f"{place}.role: Input should be 'user', 'assistant' or 'system'"
        if role == "system" and messages[index - 1].get("role") != "user":
            return f"{place}: a system message must follow a user message"
        content = message.get("content")
        if isinstance(content, str):
            if not content and index < len(messages) - 1:
                return f"{place}: all messages must have non-empty content"
            continue
        if not content:
            return f"{place}: all messages must have non-empty content"
        able = ("text", "tool_use", "thinking", "redacted_thinking")
        kinds = able if role == "assistant" else ("text", "image", "document", "tool_result")
        if problem := _blocks(content, f"{place}.content", kinds):
            return problem
    return None


def _blocks(blocks: list[Any], place: str, kinds: tuple[str, ...]) -> str | None:
    for index, block in enumerate(blocks):
        kind, here = block.get("type"), f"{place}.{index}"
        if kind not in kinds:
            return f"{here}: Input tag '{kind}' found using 'type' does not match {kinds}"
        if extra := block.keys() - _BLOCKS[kind]:
            return f"{here}.{kind}.{min(extra)}: Extra inputs are not permitted"
        if problem := _CHECKS.get(kind, _good)(block):
            return f"{here}.{kind}: {problem}"
    return None


def _good(block: Mapping[str, Any]) -> str | None:
    return None


def _text(block: Mapping[str, Any]) -> str | None:
    return None if block["text"] else "text content blocks must be non-empty"


def _image(block: Mapping[str, Any]) -> str | None:
    source = block["source"]
    if source["type"] == "base64":
        return None if source["media_type"] in _IMAGES else "media_type: not an image"
    return None if source["url"].startswith(("https://", "http://")) else "url: not an URL"


def _tool_use(block: Mapping[str, Any]) -> str | None:
    if not isinstance(block["input"], dict):
        return "input: Input should be a valid dictionary"
    return None if _NAME.fullmatch(block["id"]) else "id: String should match pattern"


def _tool_result(block: Mapping[str, Any]) -> str | None:
    content = block.get("content")
    if isinstance(content, list):
        return _blocks(content, "content", ("text", "image", "document"))
    return None


def _signed(block: Mapping[str, Any]) -> str | None:
    return None if block["signature"] == SIGNATURE else "Invalid `signature` in `thinking` block"


_CHECKS: dict[str, Check] = {
    "text": _text,
    "image": _image,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _signed,
}


def _pairs(body: Mapping[str, Any]) -> str | None:
    """Every tool_use has a tool_result in the next message, and every tool_result a tool_use in the previous one."""
    called: set[str] = set()
    for index, message in enumerate(body["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results - called:
            return f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks"
        if called - results:
            return f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks"
        called = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return "messages: `tool_use` ids without `tool_result` blocks" if called else None
