"""Translates input items of OpenAI's Responses API to messages of its chat completions.

The calls of one turn are separate items there and part of the assistant's message here. Reasoning items, and the work
of tools that OpenAI runs, are left out: chat completions have no field for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import MAX_MESSAGES, call_arguments, checked_name

Part = dict[str, Any]
Message = dict[str, Any]

_MAX_TEXT = 16 * 1024 * 1024
_ROLES = ("system", "developer", "user", "assistant")


def conversation(fields: Fields) -> list[Message]:
    """All messages, the instructions first. Raises InvalidRequest that names the field, e.g. `input[2].type`."""
    messages: list[Message] = []
    if instructions := fields.text("instructions", _MAX_TEXT):
        messages.append({"role": "system", "content": instructions})
    value = fields.data.get("input")
    if isinstance(value, str):
        return [*messages, {"role": "user", "content": value}]
    if not isinstance(value, list):
        raise fields.refusal("input", "a string or a list of items")
    for item in fields.each("input", 1, MAX_MESSAGES):
        kind = item.data.get("type") or "message"
        add = _ITEMS.get(str(kind))
        if add is None:
            raise _unsupported(item, "an item")
        add(messages, item)
    if not messages:
        raise fields.refusal("input", "a list with at least one message")
    return messages


def _unsupported(fields: Fields, what: str) -> InvalidRequest:
    return UnsupportedParameter(
        f"'{fields.path('type')}': {what} of this type cannot be used with this server.",
        code="unsupported_content",
        param=fields.path("type"),
    )


def _add_message(messages: list[Message], fields: Fields) -> None:
    role = fields.choice("role", _ROLES)
    if role is None:
        raise fields.refusal("role", "one of " + ", ".join(_ROLES))
    messages.append({"role": role, "content": _content(fields, "content", role)})


def _content(fields: Fields, name: str, role: str) -> str | list[Part]:
    value = fields.data.get(name)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise fields.refusal(name, "a string or a list of content parts")
    parts = [_part(part, role) for part in fields.each(name, 0, MAX_MESSAGES)]
    if role == "assistant":
        return "".join(part["text"] for part in parts)
    # Not every server of this dialect accepts parts.
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(fields: Fields, role: str) -> Part:
    kind = str(fields.data.get("type"))
    name = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}.get(kind)
    if name is not None:
        text = fields.text(name, _MAX_TEXT)
        if text is None:
            raise fields.refusal(name, "a string")
        return {"type": "text", "text": text}
    if role == "user" and kind == "input_image":
        return _image(fields)
    if role == "user" and kind == "input_file":
        return _file(fields)
    raise _unsupported(fields, "a content part")


def _image(fields: Fields) -> Part:
    url = fields.text("image_url", _MAX_TEXT)
    if not url:
        raise fields.refusal("image_url", "a URL; files are not stored here")
    image = {"url": url}
    if detail := fields.choice("detail", ("auto", "low", "high", "original")):
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def _file(fields: Fields) -> Part:
    data = fields.text("file_data", _MAX_TEXT)
    if not data:
        raise fields.refusal("file_data", "a data URL; files are not stored here")
    return {
        "type": "file",
        "file": {"filename": fields.text("filename", 500) or "file", "file_data": data},
    }


def _add_call(messages: list[Message], fields: Fields) -> None:
    given = fields.data.get("arguments")
    # Some clients replay them as an object, or as null.
    arguments = fields.text("arguments", _MAX_TEXT) if isinstance(given, str) else _json(call_arguments(fields))
    _append_call(messages, fields, checked_name(fields, "name"), arguments or "")


def _add_custom_call(messages: list[Message], fields: Fields) -> None:
    """A call whose input is text, as that of a function with one argument."""
    text = fields.text("input", _MAX_TEXT) or ""
    _append_call(messages, fields, checked_name(fields, "name"), _json({"input": text}))


def _add_shell_call(messages: list[Message], fields: Fields) -> None:
    _append_call(messages, fields, str(fields.data["type"]).removesuffix("_call"), _json(fields.object("action") or {}))


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _append_call(messages: list[Message], fields: Fields, name: str, arguments: str) -> None:
    function = {"name": name, "arguments": arguments}
    call = {"id": _call_id(fields), "type": "function", "function": function}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _add_output(messages: list[Message], fields: Fields) -> None:
    """Adds a tool message; images of the result follow in a message of the user, since tool messages hold text only."""
    content = _content(fields, "output", "user")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    others = [part for part in parts if part["type"] != "text"]
    messages.append({"role": "tool", "tool_call_id": _call_id(fields), "content": text})
    if others:
        messages.append({"role": "user", "content": others})


def _call_id(fields: Fields) -> str:
    found = fields.text("call_id", 256)
    if not found:
        raise fields.refusal("call_id", "the id of a call")
    return found


def _skip(messages: list[Message], fields: Fields) -> None:
    """Leaves out an item for which chat completions have no field."""


_ITEMS: dict[str, Callable[[list[Message], Fields], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_output,
    "custom_tool_call": _add_custom_call,
    "custom_tool_call_output": _add_output,
    "local_shell_call": _add_shell_call,
    "local_shell_call_output": _add_output,
    "shell_call": _add_shell_call,
    "shell_call_output": _add_output,
    # What OpenAI's own tools did, and the model thought: their results are in the texts of the model.
    **dict.fromkeys(
        (
            "reasoning",
            "web_search_call",
            "file_search_call",
            "code_interpreter_call",
            "image_generation_call",
            "mcp_list_tools",
            "mcp_call",
            "mcp_approval_request",
            "mcp_approval_response",
        ),
        _skip,
    ),
}
