"""A whole answer of OpenAI's dialect as a stream: some servers ignore `stream` for some models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.providers.wire import sse


def as_stream(answer: Mapping[str, Any]) -> bytes:
    """One chunk with everything, one with the usage, and the end. `answer` is a chat completion or a completion."""
    base = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    if "object" in base:
        base["object"] = str(base["object"]).replace("chat.completion", "chat.completion.chunk")
    choices = answer.get("choices")
    parts = [_part(choice) for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    chunks = [{**base, "choices": parts}]
    if isinstance(answer.get("usage"), dict):
        chunks.append({**base, "choices": [], "usage": answer["usage"]})
    return b"".join(map(sse.unnamed, chunks)) + sse.DONE


def _part(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        return dict(choice)
    delta = dict(message)
    if isinstance(calls := delta.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls) if isinstance(call, dict)]
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "delta": delta}
