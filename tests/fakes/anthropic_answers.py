"""Successful answers of the fake Anthropic, whole and as streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes import answers
from tests.fakes.provider_faults import Reply

SIGNATURE = "EqQBCkYIBRgCKkBmYWtlIHNpZ25hdHVyZQ=="
_HEADERS = {"request-id": "req_fake", "anthropic-organization-id": "org_fake"}
Block = dict[str, Any]


def message(body: Mapping[str, Any], cached: set[str]) -> Reply:
    """The answer; adds the request's prefixes with `cache_control` to `cached`."""
    blocks, stop, word = _limited(_blocks(body), body)
    usage = _usage(body, blocks, cached)
    whole = {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": word,
        "usage": usage,
    }
    counted = body.get("stream") is True
    events = list(_events(whole, usage)) if counted else None
    bare = {name: value for name, value in whole.items() if name != "usage"}
    without = Reply(bare, list(_events(bare, None)) if counted else None, headers=_HEADERS)
    return Reply(whole, events, without, headers=_HEADERS)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    texts = [_text(body.get("system") or "")]
    texts += [_text(each["content"]) for each in body.get("messages") or ()]
    return answers.count_tokens(*texts)


def _blocks(body: Mapping[str, Any]) -> list[Block]:
    thinking = (body.get("thinking") or {}).get("type", "disabled") != "disabled"
    thought = {"type": "thinking", "thinking": answers.THOUGHT, "signature": SIGNATURE}
    return [thought, *_spoken(body)] if thinking else _spoken(body)


def _spoken(body: Mapping[str, Any]) -> list[Block]:
    messages = body.get("messages") or [{"role": "user", "content": ""}]
    last = messages[-1]["content"]
    shape = (body.get("output_config") or {}).get("format")
    if name := _called(body, last):
        value = answers.conforming(_tools(body)[name])
        call = {"type": "tool_use", "id": "toolu_fake1", "name": name, "input": value}
        forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
        return [call] if forced else [_text_block("Let me see."), call]
    if shape:
        return [_text_block(json.dumps(answers.conforming(shape["schema"])))]
    results = [] if isinstance(last, str) else [b for b in last if b["type"] == "tool_result"]
    if results:
        return [_text_block(answers.about_result(_text(results[-1].get("content") or "")))]
    return [_text_block(answers.echo(_text(last), _images(last)))]


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _called(body: Mapping[str, Any], last: Any) -> str | None:
    choice, names = body.get("tool_choice") or {"type": "auto"}, list(_tools(body))
    if not names or choice["type"] == "none":
        return None
    if choice["type"] == "tool":
        return str(choice["name"])
    return names[0] if choice["type"] == "any" else answers.called_by_name(names, _text(last))


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    return {tool["name"]: tool["input_schema"] for tool in body.get("tools") or () if "input_schema" in tool}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block["type"] == "text")


def _images(content: Any) -> list[str]:
    blocks = [] if isinstance(content, str) else content
    sources = [block["source"] for block in blocks if block["type"] == "image"]
    return [source.get("media_type") or source["url"] for source in sources]


def _limited(blocks: list[Block], body: Mapping[str, Any]) -> tuple[list[Block], str, str | None]:
    """The blocks, cut at `max_tokens` or a stop sequence, `stop_reason`, and the stop sequence."""
    last = blocks[-1]
    if last["type"] == "tool_use":
        return blocks, "tool_use", None
    for word in body.get("stop_sequences") or ():
        before, found, _ = last["text"].partition(word)
        if found:
            return [*blocks[:-1], _text_block(before)], "stop_sequence", word
    pieces = answers.words(last["text"])
    limit = body.get("max_tokens", len(pieces))
    if len(pieces) > limit:
        return [*blocks[:-1], _text_block("".join(pieces[:limit]))], "max_tokens", None
    return blocks, "end_turn", None


def _usage(body: Mapping[str, Any], blocks: list[Block], cached: set[str]) -> dict[str, Any]:
    total, prefix = prompt_tokens(body), _prefix(body)
    hit = prefix in cached
    if prefix:
        cached.add(prefix)
    marked = min(total, answers.count_tokens(prefix))
    texts = [block.get("text") or block.get("thinking") or json.dumps(block.get("input")) for block in blocks]
    return {
        "input_tokens": total - marked,
        "cache_creation_input_tokens": 0 if hit else marked,
        "cache_read_input_tokens": marked if hit else 0,
        "output_tokens": answers.count_tokens(*texts),
        "service_tier": "standard",
    }


def _prefix(body: Mapping[str, Any]) -> str:
    """The text up to the last block with `cache_control`; empty without one."""
    contents = [body.get("system") or "", *(each["content"] for each in body.get("messages") or ())]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    marked = [index for index, block in enumerate(blocks) if block.get("cache_control")]
    return _text(blocks[: marked[-1] + 1]) if marked else ""


def _events(whole: dict[str, Any], usage: dict[str, Any] | None) -> Iterator[bytes]:
    begun = {**whole, "content": [], "stop_reason": None, "stop_sequence": None}
    if usage is not None:
        begun["usage"] = {**usage, "output_tokens": 1}
    yield _event("message_start", message=begun)
    for index, block in enumerate(whole["content"]):
        yield _event("content_block_start", index=index, content_block=_begun(block))
        if index == 0:
            yield _event("ping")
        for delta in _deltas(block):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    delta = {name: whole[name] for name in ("stop_reason", "stop_sequence")}
    counts = {} if usage is None else {"usage": usage}
    yield _event("message_delta", delta=delta, **counts)
    yield _event("message_stop")


def _begun(block: Block) -> Block:
    empty: Block = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: empty.get(name, value) for name, value in block.items()}


def _deltas(block: Block) -> Iterator[Block]:
    if block["type"] == "text":
        for word in answers.words(block["text"]):
            yield {"type": "text_delta", "text": word}
    elif block["type"] == "thinking":
        for word in answers.words(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": word}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        text = json.dumps(block["input"])
        yield {"type": "input_json_delta", "partial_json": ""}
        for start in range(0, len(text), 5):
            yield {"type": "input_json_delta", "partial_json": text[start : start + 5]}


def _event(kind: str, **values: Any) -> bytes:
    data = json.dumps({"type": kind, **values}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()
