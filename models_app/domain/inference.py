"""The bodies of chat completions, completions and embeddings, checked and frozen.

Null means "not given", as in OpenAI's own definition. Every refusal is an InvalidRequest whose `param` names the field.

What happens to fields that NOA does not know: the ones in `REFUSED` would change what the server does or where it
connects, or would change the meaning of the answer, and are refused whenever they are given. All others are ignored:
OpenAI's bookkeeping fields (`user`, `metadata`, `store`, `service_tier`, `safety_identifier`, `prompt_cache_key`,
`reasoning_effort`, `verbosity`, `prediction`) change nothing in a local model, and clients written for other servers
send extensions of theirs with every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from models_app.domain.conversation import (
    Message,
    Tool,
    ToolChoice,
    checked_name,
    parse_messages,
    parse_tool_choice,
    parse_tools,
)
from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields, depth_exceeds

MAX_CHOICES = 8
# Sequences that one request may ask for: prompts times n.
MAX_SEQUENCES = 128
MAX_EMBEDDING_INPUTS = 2048  # OpenAI's own limit
MAX_TOKEN_ID = 2**31 - 1
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
_MAX_TEXT = 16 * 1024 * 1024
_MAX_LOGIT_BIAS = 1024
_MAX_STOPS = 4  # OpenAI's own limit
_MAX_STOP_LENGTH = 1000

REFUSED = frozenset(
    {
        "api_base", "api_key", "base_url", "extra_headers", "extra_body", "chat_template", "grammar", "functions",
        "function_call", "audio", "web_search_options", "guided_json", "guided_regex", "guided_grammar",
        "guided_choice", "lora", "image_data", "input_prefix", "input_suffix",
    }
)  # fmt: skip

Prompt = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SamplingFields:
    """How the client wants tokens chosen. `max_tokens` None means the rest of the context; `top_logprobs` None means
    no log-probabilities; `top_k` 0 means all tokens."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    ignore_eos: bool = False


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
    stream, include_usage = _streaming(fields)
    tools = parse_tools(fields)
    return ChatRequest(
        model=model,
        messages=parse_messages(fields),
        sampling=_sampling(fields, top_logprobs=_chat_logprobs(fields)),
        n=fields.integer("n", 1, MAX_CHOICES) or 1,
        stream=stream,
        include_usage=include_usage,
        tools=tools,
        tool_choice=parse_tool_choice(fields, tools),
        parallel_tool_calls=fields.boolean("parallel_tool_calls", True),
        response_format=_response_format(fields),
        template_options=_template_options(fields),
    )


def parse_completion(data: Mapping[str, Any]) -> CompletionRequest:
    fields = Fields(data)
    model = _model(fields)
    _refuse_completion_extras(fields)
    stream, include_usage = _streaming(fields)
    prompts = _prompts(fields, "prompt", MAX_SEQUENCES)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    if n * len(prompts) > MAX_SEQUENCES:
        raise InvalidRequest(
            f"'n' times the number of prompts must not exceed {MAX_SEQUENCES}.", param="n"
        )
    return CompletionRequest(
        model=model,
        prompts=prompts,
        sampling=_sampling(fields, top_logprobs=fields.integer("logprobs", 0, 20)),
        n=n,
        stream=stream,
        include_usage=include_usage,
    )


def parse_embedding(data: Mapping[str, Any]) -> EmbeddingRequest:
    fields = Fields(data)
    return EmbeddingRequest(
        model=_model(fields),
        inputs=_prompts(fields, "input", MAX_EMBEDDING_INPUTS),
        base64=fields.choice("encoding_format", ("float", "base64")) == "base64",
        dimensions=fields.integer("dimensions", 1, 1_000_000),
    )


def _model(fields: Fields) -> str:
    """The model's name; fields that no endpoint takes are refused here, before anything else is looked at."""
    for name in sorted(REFUSED & fields.data.keys()):
        raise UnsupportedParameter(f"'{name}' is not accepted by this server.", param=name)
    fields.text("user", 1024)
    model = fields.text("model", 255)
    if not model or not model.isprintable():
        raise fields.refusal("model", "the name of a model")
    return model


def _streaming(fields: Fields) -> tuple[bool, bool]:
    stream = fields.boolean("stream")
    if fields.object("stream_options") is None:
        return stream, False
    if not stream:
        raise InvalidRequest(
            "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    return stream, fields.inner("stream_options").boolean("include_usage")


def _sampling(fields: Fields, *, top_logprobs: int | None) -> SamplingFields:
    top_k = fields.integer("top_k", -1, 1_000_000) or 0
    return SamplingFields(
        max_tokens=_max_tokens(fields),
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=fields.number("top_p", 0, 1, 1.0),
        # Other servers write -1 for "all tokens".
        top_k=max(0, top_k),
        min_p=fields.number("min_p", 0, 1, 0.0),
        repeat_penalty=fields.number("repeat_penalty", 0.01, 10, 1.0),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
        seed=fields.integer("seed", -(2**63), 2**63 - 1),
        logit_bias=_logit_bias(fields),
        stop=_stop(fields),
        top_logprobs=top_logprobs,
        ignore_eos=fields.boolean("ignore_eos"),
    )


def _max_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1, MAX_TOKEN_ID)
    new = fields.integer("max_completion_tokens", 1, MAX_TOKEN_ID)
    if old is not None and new is not None:
        raise InvalidRequest(
            "Give either 'max_tokens' or 'max_completion_tokens', not both.", param="max_tokens"
        )
    return old if new is None else new


def _chat_logprobs(fields: Fields) -> int | None:
    wanted = fields.boolean("logprobs")
    top = fields.integer("top_logprobs", 0, 20)
    if top is not None and not wanted:
        raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return (top or 0) if wanted else None


def _logit_bias(fields: Fields) -> Mapping[int, float]:
    given = fields.object("logit_bias") or {}
    if len(given) > _MAX_LOGIT_BIAS:
        raise fields.refusal("logit_bias", f"an object of at most {_MAX_LOGIT_BIAS} tokens")
    values = Fields(given, "logit_bias.")
    return {_token_id(fields, key): values.number(key, -100, 100, 0.0) for key in given}


def _token_id(fields: Fields, key: str) -> int:
    # Ten digits hold every id; int() of a long string is quadratic.
    if not key.isascii() or not key.isdigit() or len(key) > 10 or int(key) > MAX_TOKEN_ID:
        raise fields.refusal("logit_bias", "an object from token ids to numbers")
    return int(key)


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.data.get("stop")
    values = [] if value is None else value if isinstance(value, list) else [value]
    good = all(isinstance(item, str) and 0 < len(item) <= _MAX_STOP_LENGTH for item in values)
    if not good or len(values) > _MAX_STOPS:
        raise fields.refusal(
            "stop",
            f"a string of 1 to {_MAX_STOP_LENGTH} characters or a list of up to {_MAX_STOPS}",
        )
    return tuple(values)


def _response_format(fields: Fields) -> ResponseFormat:
    if fields.object("response_format") is None:
        return ResponseFormat()
    given = fields.inner("response_format")
    kind = given.choice("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise given.refusal("type", "one of text, json_object, json_schema")
    if kind != "json_schema":
        return ResponseFormat(kind)
    described = given.inner("json_schema")
    checked_name(described, "name")
    schema = described.object("schema")
    if schema is None:
        raise described.refusal("schema", "a JSON schema")
    check_schema_size(schema, described.path("schema"))
    return ResponseFormat(kind, schema, described.boolean("strict"))


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
    given = fields.object("chat_template_kwargs") or {}
    plain = all(isinstance(value, str | int | float | None) for value in given.values())
    if not plain or len(given) > 16 or not all(name.isidentifier() for name in given):
        raise fields.refusal("chat_template_kwargs", "an object of at most 16 plain values")
    return given


def _refuse_completion_extras(fields: Fields) -> None:
    for name, harmless in (("suffix", ("",)), ("echo", (False,)), ("best_of", (1,))):
        value = fields.data.get(name)
        if value is not None and not any(value is same or value == same for same in harmless):
            raise UnsupportedParameter(f"'{name}' is not supported.", param=name)


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


def _prompt(fields: Fields, name: str, value: Any) -> Prompt:  # noqa: ANN401
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT:
        return value
    ids = isinstance(value, list) and bool(value)
    if not ids or not all(type(item) is int and 0 <= item <= MAX_TOKEN_ID for item in value):
        raise fields.refusal(name, "text that is not empty, or token ids")
    return tuple(value)
