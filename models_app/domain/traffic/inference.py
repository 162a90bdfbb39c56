"""The bodies of chat completions, completions and embeddings, checked and frozen.

Null means "not given", as in OpenAI's own definition. Every refusal is an InvalidRequest whose `param` names the field.

Fields that NOA does not support: those in `REFUSED` would change the server's actions, its connections, or the meaning
of the answer, and are always refused. All others are ignored: OpenAI's bookkeeping fields (`user`, `metadata`, `store`,
`service_tier`, `safety_identifier`, `prompt_cache_key`, `reasoning_effort`, `verbosity`, `prediction`) change nothing
in a local model, and clients of other servers send their extensions with every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields, depth_exceeds
from models_app.domain.traffic.conversation import (
    Message,
    Tool,
    ToolChoice,
    checked_name,
    parse_messages,
    parse_tool_choice,
    parse_tools,
)
from models_app.domain.traffic.sampling import (
    MAX_TOKEN_ID,
    SamplingFields,
    chat_logprobs,
    parse_sampling,
)

MAX_CHOICES = 8
# Sequences of one request: prompts times n.
MAX_SEQUENCES = 128
MAX_EMBEDDING_INPUTS = 2048  # OpenAI's own limit
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
_MAX_TEXT = 16 * 1024 * 1024

REFUSED = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "extra_headers",
        "extra_body",
        "chat_template",
        "grammar",
        "functions",
        "function_call",
        "audio",
        "web_search_options",
        "guided_regex",
        "guided_grammar",
        "guided_choice",
        "lora",
        "image_data",
        "input_prefix",
        "input_suffix",
    }
)

# Where clients of OpenAI, Ollama, vLLM (now and before) and llama-server say which form the answer must have.
_FORMAT_FIELDS = ("response_format", "format", "structured_outputs", "guided_json", "json_schema")

Prompt = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`kind` is text, json_object or json_schema. With `strict` every keyword of the schema must be enforced."""

    kind: str = "text"
    schema: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    sampling: SamplingFields
    n: int
    stream: bool
    include_usage: bool
    # The first chunk of a stream states the length of the prompt.
    continuous_usage: bool
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    parallel_tool_calls: bool
    response_format: ResponseFormat
    template_options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str
    prompts: tuple[Prompt, ...]
    sampling: SamplingFields
    n: int
    stream: bool
    include_usage: bool
    echo: bool


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """`dimensions` None means the model's own."""

    model: str
    inputs: tuple[Prompt, ...]
    base64: bool
    dimensions: int | None


def parse_chat(data: Mapping[str, Any]) -> ChatRequest:
    fields = Fields(data)
    model = _model(fields)
    stream, include_usage, continuous_usage = _streaming(fields)
    tools = parse_tools(fields)
    return ChatRequest(
        model=model,
        messages=parse_messages(fields),
        sampling=parse_sampling(fields, top_logprobs=chat_logprobs(fields)),
        n=fields.integer("n", 1, MAX_CHOICES) or 1,
        stream=stream,
        include_usage=include_usage,
        continuous_usage=continuous_usage,
        tools=tools,
        tool_choice=parse_tool_choice(fields, tools),
        parallel_tool_calls=fields.boolean("parallel_tool_calls", True),
        response_format=parse_response_format(fields),
        template_options=_template_options(fields),
    )


def parse_completion(data: Mapping[str, Any]) -> CompletionRequest:
    fields = Fields(data)
    model = _model(fields)
    _refuse_completion_extras(fields)
    stream, include_usage, _ = _streaming(fields)
    prompts = _prompts(fields, "prompt", MAX_SEQUENCES)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    if n * len(prompts) > MAX_SEQUENCES:
        raise InvalidRequest(f"'n' times the number of prompts must not exceed {MAX_SEQUENCES}.", param="n")
    return CompletionRequest(
        model=model,
        prompts=prompts,
        sampling=parse_sampling(fields, top_logprobs=fields.integer("logprobs", 0, 20)),
        n=n,
        stream=stream,
        include_usage=include_usage,
        echo=fields.boolean("echo"),
    )


def parse_embedding(data: Mapping[str, Any]) -> EmbeddingRequest:
    fields = Fields(data)
    return EmbeddingRequest(
        model=_model(fields),
        inputs=_prompts(fields, "input", MAX_EMBEDDING_INPUTS),
        base64=fields.choice("encoding_format", ("float", "base64")) == "base64",
        dimensions=fields.integer("dimensions", 1, 1_000_000),
    )


def refuse_foreign(fields: Fields) -> None:
    """Raises UnsupportedParameter for the first field of `REFUSED` that has a value."""
    for name in sorted(REFUSED & fields.data.keys()):
        if fields.data[name] is not None:
            raise UnsupportedParameter(f"'{name}' is not accepted by this server.", param=name)


def _model(fields: Fields) -> str:
    """The model's name. Fields that no endpoint accepts are refused here, before any other check."""
    refuse_foreign(fields)
    fields.text("user", 1024)
    model = fields.text("model", 255)
    if not model or not model.isprintable():
        raise fields.refusal("model", "the name of a model")
    return model


def _streaming(fields: Fields) -> tuple[bool, bool, bool]:
    """`stream`, and of its options `include_usage` and vLLM's `continuous_usage_stats`."""
    stream = fields.boolean("stream")
    if fields.object("stream_options") is None:
        return stream, False, False
    if not stream:
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    options = fields.inner("stream_options")
    return stream, options.boolean("include_usage"), options.boolean("continuous_usage_stats")


def parse_response_format(fields: Fields) -> ResponseFormat:
    """The form of the answer, from OpenAI's `response_format` or from the field of another server's clients.

    A schema that was not read would be an answer of any form with status 200.
    """
    given = [name for name in _FORMAT_FIELDS if fields.data.get(name) is not None]
    if not given:
        return ResponseFormat()
    if len(given) > 1:
        raise InvalidRequest(f"Give either '{given[0]}' or '{given[1]}', not both.", param=given[1])
    name = given[0]
    if name == "response_format":
        return _openai_format(fields.inner(name))
    if name == "structured_outputs":
        return _structured_outputs(fields.inner(name))
    if name == "format" and fields.data[name] in ("", "json"):
        return ResponseFormat("json_object" if fields.data[name] else "text")
    return _schema_format(fields, name)


def _openai_format(form: Fields) -> ResponseFormat:
    kind = form.choice("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise form.refusal("type", "one of text, json_object, json_schema")
    if kind == "text":
        return ResponseFormat()
    if form.data.get("json_schema") is None and form.data.get("schema") is not None:
        return _schema_format(form, "schema", strict=form.boolean("strict"))
    if kind == "json_object":
        return ResponseFormat(kind)
    described = form.inner("json_schema")
    checked_name(described, "name")
    return _schema_format(described, "schema", strict=described.boolean("strict"))


def _structured_outputs(form: Fields) -> ResponseFormat:
    """vLLM's object of alternatives, of which a grammar can be made from `json` only."""
    for name, value in form.data.items():
        if name != "json" and value is not None and value is not False:
            raise UnsupportedParameter(f"'{form.path(name)}' is not supported: give a schema as 'json'.", param=name)
    return _schema_format(form, "json")


def _schema_format(form: Fields, name: str, *, strict: bool = False) -> ResponseFormat:
    """With the schema in the field `name`: an object, or its JSON as a string."""
    value = form.data.get(name)
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        raise form.refusal(name, "a JSON schema")
    check_schema_size(value, form.path(name))
    return ResponseFormat("json_schema", value, strict)


def check_schema_size(schema: Mapping[str, Any], param: str) -> None:
    """Raises InvalidRequest (`invalid_schema`) for a schema that is too large or nested too deeply."""
    too_large = len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES
    if too_large or depth_exceeds(schema, MAX_SCHEMA_DEPTH):
        raise InvalidRequest(
            f"'{param}' must have at most {MAX_SCHEMA_BYTES // 1024} KiB and {MAX_SCHEMA_DEPTH} levels.",
            code="invalid_schema",
            param=param,
        )


def _template_options(fields: Fields) -> Mapping[str, Any]:
    """`chat_template_kwargs`, the usual way to switch a template's features such as `enable_thinking`."""
    options = fields.object("chat_template_kwargs") or {}
    plain = all(isinstance(value, str | int | float | None) for value in options.values())
    if not plain or len(options) > 16 or not all(name.isidentifier() for name in options):
        raise fields.refusal("chat_template_kwargs", "an object of at most 16 plain values")
    return options


def _refuse_completion_extras(fields: Fields) -> None:
    for name, harmless in (("suffix", ("",)), ("best_of", (1,))):
        value = fields.data.get(name)
        if value is not None and value not in harmless:
            raise UnsupportedParameter(f"'{name}' is not supported.", param=name)
    if fields.boolean("echo") and fields.data.get("logprobs") is not None:
        raise UnsupportedParameter("'echo' cannot be combined with 'logprobs' here.", param="echo")


def _prompts(fields: Fields, name: str, most: int) -> tuple[Prompt, ...]:
    """A string, a list of strings, one list of token ids, or a list of such lists."""
    value = fields.data.get(name)
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        value = [value]
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= most:
        raise fields.refusal(name, f"a list of 1 to {most:,} items")
    if len({type(item) for item in values}) > 1:
        raise fields.refusal(name, "a list of strings or a list of token id lists, not both")
    return tuple(_prompt(fields, name, item) for item in values)


def _prompt(fields: Fields, name: str, value: Any) -> Prompt:
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT:
        return value
    ids = isinstance(value, list) and bool(value)
    if not ids or not all(type(item) is int and 0 <= item <= MAX_TOKEN_ID for item in value):
        raise fields.refusal(name, "text that is not empty, or token ids")
    return tuple(value)
