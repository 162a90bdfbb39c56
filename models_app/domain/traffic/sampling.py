"""The sampling fields that chat completions and completions share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields

MAX_TOKEN_ID = 2**31 - 1
_MAX_LOGIT_BIAS = 1024
# OpenAI allows 4; editors send as many as their templates have.
_MAX_STOPS = 32
_MAX_STOP_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class SamplingFields:
    """`max_tokens` None means the rest of the context; `top_logprobs` None means
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
    cache_prompt: bool = True


def parse_sampling(fields: Fields, *, top_logprobs: int | None) -> SamplingFields:
    top_k = fields.integer("top_k", -1, 1_000_000) or 0
    return SamplingFields(
        max_tokens=_max_tokens(fields),
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=fields.number("top_p", 0, 1, 1.0),
        # Other servers use -1 for "all tokens".
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
        cache_prompt=fields.data.get("cache_prompt") is None or fields.boolean("cache_prompt"),
    )


def _max_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1, MAX_TOKEN_ID)
    new = fields.integer("max_completion_tokens", 1, MAX_TOKEN_ID)
    if old is not None and new is not None:
        raise InvalidRequest("Give either 'max_tokens' or 'max_completion_tokens', not both.", param="max_tokens")
    return old if new is None else new


def chat_logprobs(fields: Fields) -> int | None:
    """`logprobs` and `top_logprobs` of a chat as one number; None when they were not requested."""
    requested = fields.boolean("logprobs")
    top = fields.integer("top_logprobs", 0, 20)
    if top is not None and not requested:
        raise InvalidRequest("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return (top or 0) if requested else None


def _logit_bias(fields: Fields) -> Mapping[int, float]:
    biases = fields.object("logit_bias") or {}
    if len(biases) > _MAX_LOGIT_BIAS:
        raise fields.refusal("logit_bias", f"an object of at most {_MAX_LOGIT_BIAS} tokens")
    values = Fields(biases, "logit_bias.")
    return {_token_id(fields, key): values.number(key, -100, 100, 0.0) for key in biases}


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
