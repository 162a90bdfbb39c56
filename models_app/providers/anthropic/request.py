"""Translates a request for OpenAI's chat completions to one for Anthropic's Messages API.

A table in docs/clients.md lists the translation of each field. A field that would change the answer and that Anthropic
does not have is refused by name; one without effect on it, such as `metadata`, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import Tool, ToolChoice, parse_tool_choice, parse_tools
from models_app.domain.traffic.inference import parse_response_format, refuse_foreign
from models_app.providers.anthropic.content import (
    Turn,
    conversation,
    has_open_call_without_thinking,
)

# Anthropic requires a limit, and OpenAI's clients seldom send one. Every current model can write this much.
DEFAULT_MAX_TOKENS = 8192
# The tool whose input is the answer of a model that must write JSON without a strict schema.
JSON_TOOL = "noa_json_answer"
# The thinking budget in tokens of each `reasoning_effort`.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768}
MIN_BUDGET = 1024  # Anthropic's own

_MAX_TOKENS = 1_000_000
_MAX_USER = 256
# Fields that would change the answer, each with its values that do not.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
}


def translated(body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
    """The body to send. Raises InvalidRequest or UnsupportedParameter that names the field."""
    fields = Fields(body)
    _refuse_unsupported(fields)
    system, turns = conversation(fields)
    request: dict[str, Any] = {"model": model_id, "messages": turns}
    if system:
        request["system"] = system
    if fields.boolean("stream"):
        request["stream"] = True
    _add_tools(request, fields)
    _add_format(request, fields)
    _add_sampling(request, fields)
    _add_limits(request, fields, turns)
    if user := fields.text("safety_identifier", _MAX_USER) or fields.text("user", _MAX_USER):
        request["metadata"] = {"user_id": user}
    return request


def _refuse_unsupported(fields: Fields) -> None:
    refuse_foreign(fields)
    for name, harmless in _UNSUPPORTED.items():
        value = fields.data.get(name)
        # True is 1 to Python, but not to a client.
        same = any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in harmless)
        if value is not None and not same:
            raise UnsupportedParameter(
                f"'{name}' has no counterpart in Anthropic's API. Leave it out, or use another model.",
                param=name,
            )


def _add_tools(request: dict[str, Any], fields: Fields) -> None:
    tools = parse_tools(fields)
    choice = parse_tool_choice(fields, tools)
    if not tools:
        return
    if any(tool.name == JSON_TOOL for tool in tools):
        raise InvalidRequest(f"The name '{JSON_TOOL}' is taken.", param="tools")
    request["tools"] = [_tool(tool) for tool in tools]
    request["tool_choice"] = _choice(choice, fields.boolean("parallel_tool_calls", True))


def _tool(tool: Tool) -> dict[str, Any]:
    function = tool.raw["function"]
    found: dict[str, Any] = {
        "name": tool.name,
        "input_schema": {"type": "object", **tool.parameters},
    }
    if function.get("description"):
        found["description"] = function["description"]
    if tool.strict:
        found["strict"] = True
    if isinstance(cache := tool.raw.get("cache_control"), dict):
        found["cache_control"] = cache
    return found


def _choice(choice: ToolChoice, parallel: bool) -> dict[str, Any]:
    kind = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}[choice.kind]
    found: dict[str, Any] = {"type": kind}
    if choice.name is not None:
        found["name"] = choice.name
    if not parallel and kind != "none":
        found["disable_parallel_tool_use"] = True
    return found


def _add_format(request: dict[str, Any], fields: Fields) -> None:
    """Uses Anthropic's output format for a strict schema; other JSON becomes the input of a forced tool call."""
    if (config := fields.object("output_config")) is not None:
        request["output_config"] = dict(config)
    form = parse_response_format(fields)
    if form.kind == "text":
        return
    if form.strict:
        request.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": form.schema}
        return
    schema = form.schema or {"type": "object"}
    if schema.get("type") != "object":
        raise fields.refusal("response_format", "the schema of an object unless 'strict' is true")
    _add_json_tool(request, schema)


def _add_json_tool(request: dict[str, Any], schema: Mapping[str, Any]) -> None:
    choice = request.get("tool_choice", {"type": "none"})["type"]
    if choice in ("any", "tool"):
        # The client requires a call, not an answer.
        return
    tool = {
        "name": JSON_TOOL,
        "description": "Gives the answer to the user.",
        "input_schema": schema,
    }
    if choice == "auto":
        request["tools"].append(tool)
        request["tool_choice"] = {"type": "any", "disable_parallel_tool_use": True}
    else:
        request["tools"] = [tool]
        request["tool_choice"] = {"type": "tool", "name": JSON_TOOL}


def _add_sampling(request: dict[str, Any], fields: Fields) -> None:
    if fields.data.get("temperature") is not None:
        # Anthropic's scale ends at 1; its own endpoint for OpenAI's clients caps in the same way.
        request["temperature"] = min(1.0, fields.number("temperature", 0, 2, 1))
    if fields.data.get("top_p") is not None:
        request["top_p"] = fields.number("top_p", 0, 1, 1)
    if (top_k := fields.integer("top_k", 1, _MAX_TOKENS)) is not None:
        request["top_k"] = top_k
    if stops := _stops(fields):
        request["stop_sequences"] = stops


def _stops(fields: Fields) -> list[str]:
    value = fields.data.get("stop")
    stops = [value] if isinstance(value, str) else fields.items("stop", 0, 16) or []
    if not all(isinstance(stop, str) for stop in stops):
        raise fields.refusal("stop", "a string or a list of at most 16 strings")
    if not all(stop.strip() for stop in stops):
        raise UnsupportedParameter("Anthropic's models cannot stop at white space alone.", param="stop")
    return stops


def _add_limits(request: dict[str, Any], fields: Fields, turns: list[Turn]) -> None:
    """Adds `max_tokens`, and the part of it that is the thinking budget."""
    limit = fields.integer("max_completion_tokens", 1, _MAX_TOKENS)
    limit = limit or fields.integer("max_tokens", 1, _MAX_TOKENS)
    request["max_tokens"] = limit or DEFAULT_MAX_TOKENS
    effort = fields.choice("reasoning_effort", ("none", *BUDGETS))
    if fields.object("thinking") is not None:
        thinking = fields.inner("thinking")
        request["thinking"] = thinking.data
        budget = thinking.integer("budget_tokens", MIN_BUDGET, _MAX_TOKENS) or 0
        if limit is None:
            # The limit includes the budget and must be above it.
            request["max_tokens"] += budget
        return
    budget = BUDGETS.get(effort or "none", 0)
    if limit is not None:
        # At least half of the client's limit is for the answer.
        budget = min(budget, limit // 2)
    if budget < MIN_BUDGET or not _may_think(request, turns):
        return
    request["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if limit is None:
        request["max_tokens"] += budget


def _may_think(request: Mapping[str, Any], turns: list[Turn]) -> bool:
    """False for parameters that Anthropic does not allow together with thinking: `reasoning_effort` is a preference."""
    forced = request.get("tool_choice", {}).get("type") in ("any", "tool")
    sampled = request.get("temperature", 1) != 1 or "top_k" in request or "top_p" in request
    return not (forced or sampled or has_open_call_without_thinking(turns))
