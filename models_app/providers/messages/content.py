"""Translates content blocks of Anthropic's Messages API to messages of OpenAI's chat completions.

Tool results become separate messages, before the rest of the user's turn. Images in a tool's result follow in a
message of the user, since OpenAI's tool messages hold text only. Thinking blocks and `cache_control` are left out:
only Anthropic's models support them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import MAX_MESSAGES, call_arguments, checked_name

Part = dict[str, Any]
Message = dict[str, Any]

_MAX_TEXT = 16 * 1024 * 1024
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# How a tool message expresses `is_error`.
ERROR_MARK = "Error: "


def conversation(fields: Fields) -> list[Message]:
    """All messages, the system prompt first. Raises InvalidRequest that names the field."""
    found: list[Message] = []
    if prompt := _system_text(fields, "system"):
        found.append({"role": "system", "content": prompt})
    messages = fields.each("messages", 1, MAX_MESSAGES)
    for message in messages:
        role = message.choice("role", ("user", "assistant", "system"))
        if role is None:
            raise message.refusal("role", "'user' or 'assistant'")
        if role == "system":
            found.append({"role": "system", "content": _system_text(message, "content")})
        else:
            found += _assistant(message) if role == "assistant" else _user(message)
    if messages[-1].data["role"] == "assistant":
        raise UnsupportedParameter(
            "The last message is the assistant's: this model cannot continue a given text. "
            "End with a message of the user.",
            param="messages",
        )
    return found


def _system_text(fields: Fields, name: str) -> str:
    value = fields.data.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    return "\n".join(_text(block) for block in fields.each(name, 0, MAX_MESSAGES))


def _text(fields: Fields) -> str:
    if fields.data.get("type") != "text":
        raise _unsupported(fields)
    text = fields.text("text", _MAX_TEXT)
    if text is None:
        raise fields.refusal("text", "a string")
    return text


def _unsupported(fields: Fields) -> InvalidRequest:
    return UnsupportedParameter(
        f"'{fields.path('type')}': a block of this type cannot be sent to this model.",
        code="unsupported_content",
        param=fields.path("type"),
    )


def _blocks(fields: Fields) -> list[Fields] | None:
    """The content as blocks; None when it is a string."""
    value = fields.data.get("content")
    if isinstance(value, str):
        return None
    if not isinstance(value, list):
        raise fields.refusal("content", "a string or a list of content blocks")
    return fields.each("content", 0, MAX_MESSAGES)


def _user(fields: Fields) -> list[Message]:
    blocks = _blocks(fields)
    if blocks is None:
        return [{"role": "user", "content": fields.data["content"]}]
    results: list[Message] = []
    parts: list[Part] = []
    for block in blocks:
        kind = block.data.get("type")
        if kind == "tool_result":
            result, images = _tool_result(block)
            results.append(result)
            parts += images
        elif not _is_of_server_tool(kind):
            parts.append(_part(block))
    if not parts:
        return results
    return [*results, {"role": "user", "content": _simplest(parts)}]


def _is_of_server_tool(kind: object) -> bool:
    """Whether a block is the work of a tool that Anthropic ran, whose result is in the texts of the model."""
    return isinstance(kind, str) and (kind == "server_tool_use" or kind.endswith("_tool_result"))


def _simplest(parts: list[Part]) -> str | list[Part]:
    """A single text part as a string: not every server of this dialect accepts parts."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(fields: Fields) -> Part:
    read = _PARTS.get(str(fields.data.get("type")))
    if read is None:
        raise _unsupported(fields)
    return read(fields)


def _text_part(fields: Fields) -> Part:
    return {"type": "text", "text": _text(fields)}


def _image(fields: Fields) -> Part:
    return {"type": "image_url", "image_url": {"url": _source(fields.inner("source"), _IMAGES)}}


def _document(fields: Fields) -> Part:
    source = fields.inner("source")
    if source.data.get("type") == "text":
        return {"type": "text", "text": source.text("data", _MAX_TEXT) or ""}
    if source.data.get("type") != "base64":
        raise _unsupported(source)
    name = fields.text("title", 500) or "document.pdf"
    data = _source(source, ("application/pdf",))
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def _search_result(fields: Fields) -> Part:
    texts = [_text(block) for block in fields.each("content", 0, MAX_MESSAGES)]
    return {"type": "text", "text": "\n".join([fields.text("title", 1000) or "", *texts])}


_PARTS: dict[str, Callable[[Fields], Part]] = {
    "text": _text_part,
    "search_result": _search_result,
    "image": _image,
    "document": _document,
}


def _source(fields: Fields, media_types: tuple[str, ...]) -> str:
    """The URL of the block, or a data URL with its data."""
    kind = fields.choice("type", ("base64", "url"))
    if kind == "url":
        url = fields.text("url", _MAX_TEXT) or ""
        if not url.startswith(("https://", "http://")):
            raise fields.refusal("url", "an http(s) URL")
        return url
    media_type = fields.choice("media_type", media_types)
    data = fields.text("data", _MAX_TEXT)
    if media_type is None or not data:
        raise fields.refusal("data", "base64 data, with its 'media_type'")
    return f"data:{media_type};base64,{data}"


def _tool_result(fields: Fields) -> tuple[Message, list[Part]]:
    """The message, and the images of the result, which it cannot hold."""
    call_id = fields.text("tool_use_id", 256)
    if not call_id:
        raise fields.refusal("tool_use_id", "the id of the call that this answers")
    parts = [] if fields.data.get("content") is None else _result_parts(fields)
    texts = [part["text"] for part in parts if part["type"] == "text"]
    mark = ERROR_MARK if fields.boolean("is_error") else ""
    message = {"role": "tool", "tool_call_id": call_id, "content": mark + "\n".join(texts)}
    return message, [part for part in parts if part["type"] != "text"]


def _result_parts(fields: Fields) -> list[Part]:
    blocks = _blocks(fields)
    if blocks is None:
        return [{"type": "text", "text": fields.data["content"]}]
    return [_part(block) for block in blocks]


def _assistant(fields: Fields) -> list[Message]:
    blocks = _blocks(fields)
    if blocks is None:
        return [{"role": "assistant", "content": fields.data["content"]}]
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.data.get("type")
        if kind == "tool_use":
            calls.append(_call(block))
        elif kind not in ("thinking", "redacted_thinking") and not _is_of_server_tool(kind):
            texts.append(_text(block))
    if not texts and not calls:
        return []
    message: Message = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _call(fields: Fields) -> dict[str, Any]:
    name, call_id = checked_name(fields, "name"), fields.text("id", 256)
    if not call_id:
        raise fields.refusal("id", "the id of this call")
    given = fields.data.get("input")
    # A client cannot repair the text of a malformed call that it replays.
    value = call_arguments(Fields({"arguments": given})) if isinstance(given, str) else fields.object("input")
    function = {"name": name, "arguments": orjson.dumps(value or {}).decode()}
    return {"id": call_id, "type": "function", "function": function}
