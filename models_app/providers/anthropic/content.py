"""Translates messages of OpenAI's chat completions to content blocks of Anthropic's Messages API.

`system` and `developer` messages move to the top, in their order; tool results become part of the user's turn;
consecutive turns of one role are merged. `cache_control` of a content part is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from models_app.domain.errors import UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import (
    MAX_MESSAGES,
    MAX_TOOLS,
    call_arguments,
    checked_name,
    old_call_id,
)

Block = dict[str, Any]
Turn = dict[str, Any]

_MAX_TEXT = 16 * 1024 * 1024
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=\s]*)", re.IGNORECASE)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
# Anthropic accepts only these in the id of a call; other servers write ids like `functions.weather:0`.
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_THINKING = ("thinking", "redacted_thinking")


def conversation(fields: Fields) -> tuple[list[Block], list[Turn]]:
    """The system prompt and the turns. Raises InvalidRequest that names the field, e.g. `messages[3].content`."""
    system: list[Block] = []
    turns: list[Turn] = []
    for message in fields.each("messages", 1, MAX_MESSAGES):
        role = message.choice("role", _ROLES)
        if role is None:
            raise message.refusal("role", "one of " + ", ".join(_ROLES))
        if role in ("system", "developer"):
            system += _blocks(message, role)
        elif role == "assistant":
            _add(turns, "assistant", _assistant(message))
        elif role in ("tool", "function"):
            _add(turns, "user", [_tool_result(message, role)])
        else:
            _add(turns, "user", _blocks(message, role))
    if not turns:
        raise fields.refusal("messages", "a list with a message of the user that is not empty")
    if turns[-1]["role"] == "assistant":
        _trim(turns[-1]["content"])
    return system, turns


def has_open_call_without_thinking(turns: list[Turn]) -> bool:
    """Whether the model's last turn called a tool and its thinking was not sent back.

    Anthropic refuses thinking after such a turn.
    """
    last = next((turn for turn in reversed(turns) if turn["role"] == "assistant"), None)
    if last is None:
        return False
    called = any(block["type"] == "tool_use" for block in last["content"])
    return called and last["content"][0]["type"] not in _THINKING


def _add(turns: list[Turn], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _trim(blocks: list[Block]) -> None:
    """Removes trailing white space: Anthropic continues a last turn of the assistant, but refuses one ending in it."""
    last = blocks[-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()
        if not last["text"] and len(blocks) > 1:
            blocks.pop()


def _blocks(fields: Fields, role: str) -> list[Block]:
    """The content of a message, without empty texts, which Anthropic refuses."""
    value = fields.data.get("content")
    if isinstance(value, str):
        return [{"type": "text", "text": value}] if value else []
    if value is None and role == "assistant":
        return []
    if not isinstance(value, list):
        raise fields.refusal("content", "a string or a list of content parts")
    parts = fields.each("content", 0, MAX_MESSAGES)
    return [block for part in parts if (block := _part(part, role)) is not None]


def _part(fields: Fields, role: str) -> Block | None:
    kind = fields.data.get("type")
    if kind in ("text", "refusal"):
        text = fields.text(str(kind), _MAX_TEXT)
        if text is None:
            raise fields.refusal(str(kind), "a string")
        block: Block | None = {"type": "text", "text": text} if text else None
    elif role in ("user", "tool") and kind == "image_url":
        block = _image(fields)
    elif role == "user" and kind == "file":
        block = _file(fields)
    else:
        raise UnsupportedParameter(
            f"'{fields.path('type')}': a part of this type cannot be sent to Anthropic's models in this message.",
            code="unsupported_content",
            param=fields.path("type"),
        )
    if block is not None and (cache := fields.object("cache_control")) is not None:
        block["cache_control"] = cache
    return block


def _image(fields: Fields) -> Block:
    image = fields.inner("image_url")
    url = image.text("url", _MAX_TEXT) or ""
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    match = _DATA_URL.fullmatch(url)
    if match is None or match[1].lower() not in _IMAGES:
        raise image.refusal("url", "an http(s) URL, or a base64 data URL of a JPEG, PNG, GIF or WebP")
    return {"type": "image", "source": _base64(match[1].lower(), match[2])}


def _file(fields: Fields) -> Block:
    file = fields.inner("file")
    match = _DATA_URL.fullmatch(file.text("file_data", _MAX_TEXT) or "")
    if match is None or match[1].lower() != _PDF:
        raise file.refusal("file_data", "a base64 data URL of a PDF")
    block: Block = {"type": "document", "source": _base64(_PDF, match[2])}
    if name := file.text("filename", 500):
        block["title"] = name
    return block


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": "".join(data.split())}


def _assistant(fields: Fields) -> list[Block]:
    """Thinking first, then text, then calls: the order in which Anthropic's models write them."""
    blocks = [*_thinking(fields), *_blocks(fields, "assistant")]
    if not fields.data.get("content") and (refusal := fields.text("refusal", _MAX_TEXT)):
        blocks.append({"type": "text", "text": refusal})
    if fields.data.get("tool_calls"):
        blocks += [_call(call) for call in fields.each("tool_calls", 1, MAX_TOOLS)]
    elif fields.object("function_call") is not None:
        function = fields.inner("function_call")
        name = checked_name(function, "name")
        blocks.append(_tool_use(_valid_id(old_call_id(name)), name, function))
    return blocks


def _thinking(fields: Fields) -> Iterable[Block]:
    """The `thinking_blocks` of an earlier answer. `reasoning_content` is left out: it has no signature."""
    if not fields.data.get("thinking_blocks"):
        return
    for block in fields.each("thinking_blocks", 1, MAX_MESSAGES):
        kind = block.choice("type", _THINKING)
        names = ("thinking", "signature") if kind == "thinking" else ("data",)
        texts = {name: block.text(name, _MAX_TEXT) for name in names}
        if kind is None or None in texts.values():
            raise block.refusal("type", "a thinking block as the model sent it")
        yield {"type": kind, **texts}


def _call(fields: Fields) -> Block:
    fields.choice("type", ("function",))
    function = fields.inner("function")
    return _tool_use(_call_id(fields, "id"), checked_name(function, "name"), function)


def _tool_use(call_id: str, name: str, function: Fields) -> Block:
    return {"type": "tool_use", "id": call_id, "name": name, "input": call_arguments(function)}


def _call_id(fields: Fields, name: str) -> str:
    value = fields.text(name, 256)
    if not value:
        raise fields.refusal(name, "the id of a call")
    return _valid_id(value)


def _valid_id(text: str) -> str:
    return _NOT_IN_ID.sub("_", text)


def _tool_result(fields: Fields, role: str) -> Block:
    if role == "tool":
        call_id = _call_id(fields, "tool_call_id")
    else:
        call_id = _valid_id(old_call_id(checked_name(fields, "name")))
    result: Block = {"type": "tool_result", "tool_use_id": call_id}
    if blocks := _blocks(fields, "tool"):
        result["content"] = blocks
    return result
