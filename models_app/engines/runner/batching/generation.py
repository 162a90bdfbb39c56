"""The interface between the runner's HTTP side and its decode thread.

The HTTP side builds a `Generation` or an `Embedding`, passes it to the batcher's `submit` and gets events. All events
of one decode step, of all requests, arrive in one call of `deliver`, on the decode thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models_app.domain.errors import NoaError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Values are already validated.

    `temperature` 0 is greedy. `top_logprobs` None means no log-probabilities, 0 only the chosen token's.
    `grammar` is llguidance's Lark, which the grammar check has compiled. `stop` strings never appear in the text.
    Without `cache_prompt` the whole prompt is computed, whatever a slot has of it.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: str | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    ignore_eos: bool = False
    cache_prompt: bool = True


@dataclass(eq=False, slots=True)
class Generation:
    """One sequence to generate. `cancelled` can be set by any thread; it takes effect at the next step.

    `request` is the gateway's id of the request.
    """

    prompt: Sequence[int]
    sampling: Sampling
    cancelled: bool = False
    request: str = ""


@dataclass(eq=False, slots=True)
class Embedding:
    """One input to embed."""

    prompt: Sequence[int]
    cancelled: bool = False
    request: str = ""


Work = Generation | Embedding


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural-log probability of a token; `text` is its bytes, possibly part of a character."""

    token: int
    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A chosen token and the most probable alternatives, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that became certain in this step: whole characters, no part of a stop string."""

    text: str
    logprobs: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation. `reason` is `stop` or `length`; a cancelled one ends with `cancelled`.

    `stop` is the stop string that ended it.
    """

    reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The last event of an embedding: the pooled vector, L2-normalised."""

    vector: Sequence[float]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of work that could not be done."""

    error: NoaError


Event = Piece | Finished | Embedded | Failed
Deliver = Callable[[list[tuple[Work, Event]]], None]
