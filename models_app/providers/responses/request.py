"""Translates a request for OpenAI's Responses API to one for its chat completions.

A table in docs/clients.md lists the translation of each field. NOA stores no responses: fields that need a stored one
are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.errors import UnsupportedParameter
from models_app.domain.json_body import Fields, shown
from models_app.domain.traffic.conversation import MAX_TOOLS, checked_name
from models_app.domain.traffic.inference import check_schema_size
from models_app.providers.responses.input import conversation

_MAX_TOKENS = 1_000_000
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
# Fields that would change the answer or what is stored, each with its values that do not.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (False,),
    "store": (False,),
    "context_management": ([],),
    "moderation": (),
    "top_logprobs": (0,),
    # A conversation that does not fit is refused by the model.
    "truncation": ("disabled", "auto"),
}
# Parts of an answer that a client can ask for, and that an answer here has. The others are parts of the work of tools
# that OpenAI runs, of which there is none.
_NOT_INCLUDED = frozenset({"message.output_text.logprobs"})


def translated(body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
    """The body to send. Raises InvalidRequest or UnsupportedParameter that names the field."""
    fields = Fields(body)
    for name, harmless in _UNSUPPORTED.items():
        if body.get(name) is not None and body[name] not in harmless:
            raise UnsupportedParameter(
                f"'{name}' cannot be used here: NOA keeps no responses and runs no tools. Send the whole conversation "
                "as 'input'.",
                param=name,
            )
    _check_included(fields)
    request: dict[str, Any] = {"model": model_id, "messages": conversation(fields)}
    if fields.boolean("stream"):
        request["stream"] = True
    _add_tools(request, fields)
    _add_text(request, fields)
    _add_sampling(request, fields)
    return request


def _check_included(fields: Fields) -> None:
    included = fields.items("include", 0, 32) or []
    for name in included:
        if not isinstance(name, str) or name in _NOT_INCLUDED:
            raise UnsupportedParameter(f"'include': {shown(name)} is not part of an answer here.", param="include")


def _add_tools(request: dict[str, Any], fields: Fields) -> None:
    """Functions are offered to the model; tools of other types, which OpenAI or a certain model runs, are left out."""
    tools = _functions(fields) if fields.data.get("tools") else {}
    if tools:
        request["tools"] = list(tools.values())
        if not fields.boolean("parallel_tool_calls", True):
            request["parallel_tool_calls"] = False
    if (choice := _choice(fields)) is not None:
        if "tools" in request:
            request["tool_choice"] = choice
        elif choice not in ("auto", "none"):
            raise fields.refusal("tools", "a list with a function, since 'tool_choice' requires a call")


def _functions(fields: Fields) -> dict[str, dict[str, Any]]:
    """The functions by their names, those of namespaces included."""
    found: dict[str, dict[str, Any]] = {}
    for tool in fields.each("tools", 1, MAX_TOOLS):
        kind = tool.data.get("type")
        if not isinstance(kind, str):
            raise tool.refusal("type", "the type of a tool")
        if kind == "function":
            found[checked_name(tool, "name")] = _tool(tool)
        elif kind == "namespace":
            found |= _functions(tool) if tool.data.get("tools") else {}
    return found


def _tool(fields: Fields) -> dict[str, Any]:
    function: dict[str, Any] = {"name": checked_name(fields, "name")}
    if (schema := fields.object("parameters")) is not None:
        check_schema_size(schema, fields.path("parameters"))
        function["parameters"] = schema
    if (description := fields.text("description", 65_536)) is not None:
        function["description"] = description
    if fields.boolean("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(fields: Fields) -> str | dict[str, Any] | None:
    if not isinstance(fields.data.get("tool_choice"), dict):
        return fields.choice("tool_choice", ("none", "auto", "required"))
    choice = fields.inner("tool_choice")
    if choice.data.get("type") != "function":
        raise UnsupportedParameter(
            "'tool_choice.type': only a tool of the type 'function' can be chosen.",
            param="tool_choice.type",
        )
    return {"type": "function", "function": {"name": checked_name(choice, "name")}}


def _add_text(request: dict[str, Any], fields: Fields) -> None:
    if fields.object("text") is None:
        return
    text = fields.inner("text")
    if (verbosity := text.choice("verbosity", ("low", "medium", "high"))) is not None:
        request["verbosity"] = verbosity
    if text.object("format") is None:
        return
    shape = text.inner("format")
    kind = shape.choice("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise shape.refusal("type", "one of text, json_object, json_schema")
    if kind == "json_object":
        request["response_format"] = {"type": kind}
    elif kind == "json_schema":
        request["response_format"] = {"type": kind, "json_schema": _schema(shape)}


def _schema(fields: Fields) -> dict[str, Any]:
    schema = fields.object("schema")
    if schema is None:
        raise fields.refusal("schema", "a JSON schema")
    check_schema_size(schema, fields.path("schema"))
    found: dict[str, Any] = {"name": checked_name(fields, "name"), "schema": schema}
    if (description := fields.text("description", 65_536)) is not None:
        found["description"] = description
    if fields.boolean("strict"):
        found["strict"] = True
    return found


def _add_sampling(request: dict[str, Any], fields: Fields) -> None:
    if (limit := fields.integer("max_output_tokens", 1, _MAX_TOKENS)) is not None:
        request["max_completion_tokens"] = limit
    for name, high in (("temperature", 2), ("top_p", 1)):
        if fields.data.get(name) is not None:
            request[name] = fields.number(name, 0, high, 1)
    if fields.object("reasoning") is not None:
        effort = fields.inner("reasoning").choice("effort", _EFFORTS)
        if effort is not None:
            request["reasoning_effort"] = effort
    if user := fields.text("safety_identifier", 512) or fields.text("user", 512):
        request["user"] = user
