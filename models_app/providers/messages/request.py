"""Translates a request for Anthropic's Messages API to one for OpenAI's chat completions.

A table in docs/clients.md lists the translation of each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.errors import UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import MAX_TOOLS, checked_name
from models_app.domain.traffic.inference import check_schema_size
from models_app.providers.messages.content import conversation

_MAX_TOKENS = 1_000_000
# `output_config.effort`, whose highest level OpenAI does not have.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
# Features of Anthropic's own servers only. An empty list requests nothing.
_UNSUPPORTED = ("container", "inference_geo", "mcp_servers")
# OpenAI refuses a longer `user`; it only identifies the end user, so a longer one is left out.
_MAX_USER = 64
_THINKING = ("enabled", "disabled", "adaptive", "between_tools")


def translated(body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
    """The body to send. Raises InvalidRequest or UnsupportedParameter that names the field."""
    fields = Fields(body)
    for name in _UNSUPPORTED:
        if body.get(name) not in (None, [], {}):
            raise UnsupportedParameter(f"'{name}' cannot be used with this model.", param=name)
    request: dict[str, Any] = {"model": model_id, "messages": conversation(fields)}
    if fields.boolean("stream"):
        request["stream"] = True
    _add_tools(request, fields)
    _add_sampling(request, fields)
    _add_output(request, fields)
    if fields.object("metadata") is not None:
        user = fields.inner("metadata").text("user_id", 1024)
        if user and len(user) <= _MAX_USER:
            request["user"] = user
    return request


def _add_tools(request: dict[str, Any], fields: Fields) -> None:
    if fields.data.get("tools"):
        # Those of other types are Anthropic's: its servers run them, or its models alone know how to call them.
        described = [tool for tool in fields.each("tools", 1, MAX_TOOLS) if tool.data.get("type") in (None, "custom")]
        if described:
            request["tools"] = [_tool(tool) for tool in described]
    if fields.object("tool_choice") is None:
        return
    choice = fields.inner("tool_choice")
    kind = choice.choice("type", tuple(_CHOICES))
    if kind is None:
        raise choice.refusal("type", "one of " + ", ".join(_CHOICES))
    if "tools" not in request:
        if kind in ("any", "tool"):
            raise fields.refusal("tools", "a list with a tool of the client, since 'tool_choice' requires a call")
        return
    request["tool_choice"] = _CHOICES[kind]
    if kind == "tool":
        function = {"name": checked_name(choice, "name")}
        request["tool_choice"] = {"type": "function", "function": function}
    if choice.boolean("disable_parallel_tool_use"):
        request["parallel_tool_calls"] = False


def _tool(fields: Fields) -> dict[str, Any]:
    schema = fields.object("input_schema")
    if schema is None:
        raise fields.refusal("input_schema", "a JSON schema")
    check_schema_size(schema, fields.path("input_schema"))
    function: dict[str, Any] = {"name": checked_name(fields, "name"), "parameters": schema}
    if (description := fields.text("description", 65_536)) is not None:
        function["description"] = description
    if fields.boolean("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _add_sampling(request: dict[str, Any], fields: Fields) -> None:
    limit = fields.integer("max_tokens", 1, _MAX_TOKENS)
    if limit is None:
        raise fields.refusal("max_tokens", f"a whole number from 1 to {_MAX_TOKENS}")
    # OpenAI's reasoning models accept only this name.
    request["max_completion_tokens"] = limit
    for name in ("temperature", "top_p"):
        if fields.data.get(name) is not None:
            request[name] = fields.number(name, 0, 1, 1)
    if (top_k := fields.integer("top_k", 1, _MAX_TOKENS)) is not None:
        request["top_k"] = top_k
    stops = fields.items("stop_sequences", 0, 64)
    if stops:
        if not all(isinstance(stop, str) and stop for stop in stops):
            raise fields.refusal("stop_sequences", "a list of strings that are not empty")
        request["stop"] = stops


def _add_output(request: dict[str, Any], fields: Fields) -> None:
    """Adds effort and output format. `thinking` is checked and left out: other providers decide about it themselves."""
    if fields.object("thinking") is not None:
        fields.inner("thinking").choice("type", _THINKING)
    if fields.object("output_config") is None:
        return
    output = fields.inner("output_config")
    if (effort := output.choice("effort", tuple(_EFFORTS))) is not None:
        request["reasoning_effort"] = _EFFORTS[effort]
    if output.object("format") is None:
        return
    shape = output.inner("format")
    schema = shape.object("schema")
    if shape.choice("type", ("json_schema",)) is None or schema is None:
        raise output.refusal("format", "a 'json_schema' with its 'schema'")
    check_schema_size(schema, shape.path("schema"))
    described = {"name": "answer", "schema": schema, "strict": True}
    request["response_format"] = {"type": "json_schema", "json_schema": described}
