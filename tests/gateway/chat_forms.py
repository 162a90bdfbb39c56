"""The same chat in the dialect of each endpoint."""

from __future__ import annotations

from typing import Any


def forms(text: str, limit: int, *, schema: Any = None, tool: Any = None) -> dict[str, dict[str, Any]]:
    """The same chat for each endpoint, with at most `limit` tokens and a schema or a forced tool."""
    chat: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}],
        "max_tokens": limit,
    }
    messages: dict[str, Any] = {
        "model": "m",
        "system": "s",
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "max_tokens": limit,
    }
    responses: dict[str, Any] = {"model": "m", "instructions": "s", "input": text, "max_output_tokens": limit}
    if schema is not None:
        named = {"name": "answer", "schema": schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
        messages["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        responses["text"] = {"format": {"type": "json_schema", **named}}
    if tool is not None:
        chat["tools"] = [{"type": "function", "function": {"name": "f", "parameters": tool}}]
        chat["tool_choice"] = "required"
        messages["tools"] = [{"name": "f", "input_schema": tool}]
        messages["tool_choice"] = {"type": "any"}
        responses["tools"] = [{"type": "function", "name": "f", "parameters": tool}]
        responses["tool_choice"] = "required"
    return {"chat/completions": chat, "messages": messages, "responses": responses}
