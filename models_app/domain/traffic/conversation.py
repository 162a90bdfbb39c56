"""The messages and tools of a chat request, checked and converted to the form of chat templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import MAX_DEPTH, Fields, depth_exceeds, shown

MAX_MESSAGES = 10_000
MAX_TOOLS = 128  # OpenAI's own limit
_MAX_CONTENT = 16 * 1024 * 1024
# `function` is OpenAI's older role of the results of calls.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# A message in the form of chat templates: role, content (a string) and, if sent, name, tool_calls, tool_call_id.
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model can call. `raw` is the client's object, for the template."""

    name: str
    parameters: Mapping[str, Any]
    strict: bool
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`kind` is none, auto, required or named; `name` is set for named only."""

    kind: str
    name: str | None = None


def parse_messages(fields: Fields) -> tuple[Message, ...]:
    """The messages; raises InvalidRequest that names the field, e.g. `messages[3].content`."""
    return tuple(_message(item) for item in fields.each("messages", 1, MAX_MESSAGES))


def parse_tools(fields: Fields) -> tuple[Tool, ...]:
    if fields.data.get("tools") is None:
        return ()
    tools = tuple(_tool(item) for item in fields.each("tools", 1, MAX_TOOLS))
    names = [tool.name for tool in tools]
    if len(set(names)) != len(names):
        raise InvalidRequest("Two tools have the same name.", code="named_twice", param="tools")
    return tools


def parse_tool_choice(fields: Fields, tools: tuple[Tool, ...]) -> ToolChoice:
    """The choice, by default auto with tools and none without."""
    is_named = isinstance(fields.data.get("tool_choice"), dict)
    choice = _named_choice(fields) if is_named else _word_choice(fields)
    if not tools and choice.kind in ("required", "named"):
        raise InvalidRequest("'tool_choice' requires a call, but 'tools' is empty.", param="tool_choice")
    if choice.name is not None and choice.name not in {tool.name for tool in tools}:
        raise InvalidRequest(
            f"'tool_choice' names '{shown(choice.name)}', which is not in 'tools'.",
            param="tool_choice",
        )
    return choice if tools else ToolChoice("none")


def checked_name(fields: Fields, name: str) -> str:
    """The field as a name: 1 to 64 letters, digits, `_` and `-`."""
    value = fields.data.get(name)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise fields.refusal(name, "1 to 64 letters, digits, '_' and '-'")
    return value


def _word_choice(fields: Fields) -> ToolChoice:
    word = fields.choice("tool_choice", ("none", "auto", "required"))
    return ToolChoice(word or "auto")


def _named_choice(fields: Fields) -> ToolChoice:
    choice = fields.inner("tool_choice")
    choice.choice("type", ("function",))
    return ToolChoice("named", checked_name(choice.inner("function"), "name"))


def _tool(fields: Fields) -> Tool:
    if fields.data.get("type") != "function":
        raise fields.refusal("type", "'function'")
    function = fields.inner("function")
    name = checked_name(function, "name")
    function.text("description", 65_536)
    strict = function.boolean("strict")
    return Tool(name, function.object("parameters") or {}, strict, fields.data)


def _message(fields: Fields) -> Message:
    role = fields.choice("role", _ROLES)
    if role is None:
        raise fields.refusal("role", "one of " + ", ".join(_ROLES))
    message: Message = {"role": role, "content": _content(fields, role)}
    if (name := fields.text("name", 256)) is not None:
        message["name"] = name
    if role == "assistant":
        if calls := _calls(fields):
            message["tool_calls"] = calls
    elif role == "tool":
        message["tool_call_id"] = fields.text("tool_call_id", 256)
        if not message["tool_call_id"]:
            raise fields.refusal("tool_call_id", "the id of the call that this message answers")
    elif role == "function":
        if not name:
            raise fields.refusal("name", "the name of the function that was called")
        message |= {"role": "tool", "tool_call_id": old_call_id(name)}
    return message


def _calls(fields: Fields) -> list[dict[str, Any]]:
    if fields.data.get("tool_calls"):
        return [_call(call) for call in fields.each("tool_calls", 1, MAX_TOOLS)]
    if fields.object("function_call") is None:
        return []
    function = _function(fields.inner("function_call"))
    return [{"id": old_call_id(function["name"]), "type": "function", "function": function}]


def old_call_id(name: str) -> str:
    """An id for a call of OpenAI's older form, which has none: its result names the function."""
    return f"call_{name}"


def _content(fields: Fields, role: str) -> str:
    value = fields.data.get("content")
    if isinstance(value, list):
        # As OpenAI: a turn of the user has something in it.
        parts = fields.each("content", role == "user", MAX_MESSAGES)
        return "\n".join(_part(part, role) for part in parts)
    # An answer that was cut off before its first word is null.
    if value is None and role == "assistant":
        return ""
    if not isinstance(value, str):
        raise fields.refusal("content", "a string or a list of content parts")
    return value


def _part(fields: Fields, role: str) -> str:
    kind = fields.data.get("type")
    if kind in ("image_url", "input_audio", "file", "image", "audio", "video_url"):
        raise UnsupportedParameter(
            f"This model reads text only: '{kind}' parts cannot be sent to it.",
            code="unsupported_content",
            param=fields.path("type"),
        )
    if kind == "refusal" and role == "assistant":
        return fields.text("refusal", _MAX_CONTENT) or ""
    if kind != "text":
        raise fields.refusal("type", "'text'")
    text = fields.text("text", _MAX_CONTENT)
    if text is None:
        raise fields.refusal("text", "a string")
    return text


def _call(fields: Fields) -> dict[str, Any]:
    fields.choice("type", ("function",))
    return {
        "id": fields.text("id", 256) or "",
        "type": "function",
        "function": _function(fields.inner("function")),
    }


def _function(fields: Fields) -> dict[str, Any]:
    return {"name": checked_name(fields, "name"), "arguments": call_arguments(fields)}


def call_arguments(function: Fields) -> dict[str, Any]:
    """The arguments of an earlier call as an object, which templates loop over or print.

    Models write invalid ones, and a client repeats them with each request: they must not end the conversation. What
    is no object becomes `{"arguments": …}`, so that the model sees what it wrote.
    """
    text = function.data.get("arguments")
    if isinstance(text, dict):
        return text
    if not isinstance(text, str | None) or len(text or "") > _MAX_CONTENT:
        raise function.refusal("arguments", "a string that holds JSON")
    if text is None or not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}
    if value is None:
        return {}
    if isinstance(value, dict) and not depth_exceeds(value, MAX_DEPTH):
        return value
    return {"arguments": text}
