"""Small real requests that detect a model's capabilities. Each judges the answer and gives the reason in a sentence."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import isclose, isfinite
from typing import Any

import orjson

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.conforming import conforms
from models_app.providers.asking.asking import Answer, Asker

# A small model on a slow machine writes a few tokens per second.
PROBE_SECONDS = 60.0
_MAX_TOKENS = 64
# A structured answer can only be judged when it is complete.
_MAX_STRUCTURED_TOKENS = 256
# How many characters of an answer a verdict quotes.
_QUOTED = 120

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Probed:
    """One verdict, its reason, and the request that was sent (the body without the model's name)."""

    capability: Capability
    verdict: Verdict
    detail: str
    path: str
    request: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the request's JSON with sorted keys: equal digests are equal requests."""
        data = {"path": self.path, "body": self.request}
        return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()


Judgement = tuple[Verdict, str]
Probe = Callable[[Asker], Awaitable[Probed]]


async def _ask(ask: Asker, path: str, body: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
    """The answer and the body that was sent last: newer servers have another name for `max_tokens`."""
    answer = await ask.ask(path, body, seconds=PROBE_SECONDS)
    if answer.refused and "max_tokens" in body and "max_completion_tokens" in answer.error:
        body = dict(body)
        body["max_completion_tokens"] = body.pop("max_tokens")
        answer = await ask.ask(path, body, seconds=PROBE_SECONDS)
    return answer, body


def _not_answered(answer: Answer) -> Judgement | None:
    """The verdict on a failed request; None when there is an answer to judge."""
    if answer.refused:
        return Verdict.UNSUPPORTED, f"The model refused: {answer.error}"
    if answer.status != 200 or answer.error:
        return Verdict.INCONCLUSIVE, f"The probe failed: {answer.error}"
    return None


def _chat(text: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
        **more,
    }


def _message(answer: Answer) -> Mapping[str, Any]:
    choice = _first(answer.body.get("choices"))
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _first(value: Any) -> Mapping[str, Any]:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message, or its reasoning: some models write nothing else in a short answer."""
    for name in ("content", "reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name].strip():
            return str(message[name])
    return ""


def _cut(answer: Answer) -> Judgement | None:
    """The verdict on an answer that was cut at `max_tokens`, and cannot be judged."""
    if _first(answer.body.get("choices")).get("finish_reason") == "length":
        tokens = _MAX_STRUCTURED_TOKENS
        return Verdict.INCONCLUSIVE, f"The answer was incomplete after {tokens} tokens."
    return None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…")


def _wrote_something(text: str) -> Judgement:
    if text:
        return Verdict.SUPPORTED, f"It answered {_quoted(text)}."
    return Verdict.UNSUPPORTED, "The answer holds no text."


async def chat(ask: Asker) -> Probed:
    answer, body = await _ask(ask, "chat/completions", _chat("Say hello."))
    verdict, detail = _not_answered(answer) or _wrote_something(_text(_message(answer)))
    return Probed(Capability.CHAT_COMPLETION, verdict, detail, "chat/completions", body)


async def text(ask: Asker) -> Probed:
    """Probes with a completion, or with a chat where the server refuses completions."""
    plain = {"prompt": "The sun rises in the", "max_tokens": _MAX_TOKENS, "temperature": 0}
    answer, body = await _ask(ask, "completions", plain)
    if answer.refused:
        shown = await chat(ask)
        return Probed(Capability.TEXT_GENERATION, shown.verdict, shown.detail, shown.path, shown.request)
    written = _first(answer.body.get("choices")).get("text")
    verdict, detail = _not_answered(answer) or _wrote_something(str(written or ""))
    return Probed(Capability.TEXT_GENERATION, verdict, detail, "completions", body)


async def streaming(ask: Asker) -> Probed:
    path, body = "chat/completions", _chat("Count from one to ten.", stream=True)
    answer, body = await _ask(ask, path, body)
    if answer.refused:
        path = "completions"
        body = {"prompt": "One, two, three,", "max_tokens": _MAX_TOKENS, "temperature": 0, "stream": True}
        answer, body = await _ask(ask, path, body)
    verdict, detail = _not_answered(answer) or _judge_stream(answer)
    return Probed(Capability.STREAMING, verdict, detail, path, body)


def _judge_stream(answer: Answer) -> Judgement:
    pieces = sum(1 for _, event in answer.events if content_of(event))
    if pieces > 1:
        return Verdict.SUPPORTED, f"The text came in {pieces} pieces, and the stream was complete."
    return Verdict.UNSUPPORTED, f"The text came in {pieces} pieces: it was not streamed."


def content_of(event: Mapping[str, Any]) -> str:
    """The text in one event of a stream."""
    choice = _first(event.get("choices"))
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return next(
            (str(delta[name]) for name in ("content", "reasoning_content", "reasoning") if delta.get(name)),
            "",
        )
    return str(choice.get("text") or "")


async def json_mode(ask: Asker) -> Probed:
    """Requests an answer that conforms to a schema; where schemas are refused, any JSON object."""
    question = "Name a city and how many people live there. Answer as JSON with 'city' and 'people'."
    schema = {"name": "city", "strict": True, "schema": _SCHEMA}
    json_schema = {"type": "json_schema", "json_schema": schema}
    limit = {"max_tokens": _MAX_STRUCTURED_TOKENS}
    answer, body = await _ask(ask, "chat/completions", _chat(question, response_format=json_schema) | limit)
    bound: Mapping[str, Any] = _SCHEMA
    if answer.refused:
        bound = {"type": "object"}
        only_json = {"type": "json_object"}
        answer, body = await _ask(ask, "chat/completions", _chat(question, response_format=only_json) | limit)
    verdict, detail = _not_answered(answer) or _judge_json(answer, bound)
    return Probed(Capability.JSON_MODE, verdict, detail, "chat/completions", body)


def _judge_json(answer: Answer, schema: Mapping[str, Any]) -> Judgement:
    written = _text(_message(answer))
    try:
        value = orjson.loads(written)
    except orjson.JSONDecodeError:
        return _cut(answer) or (
            Verdict.UNSUPPORTED,
            f"The answer is not JSON: {_quoted(written)}.",
        )
    if not conforms(value, schema):
        return Verdict.UNSUPPORTED, f"The JSON does not conform to the schema: {_quoted(written)}."
    what = "conforms to the schema" if schema is _SCHEMA else "is a JSON object"
    return Verdict.SUPPORTED, f"The answer {what}: {_quoted(written)}."


async def tool_call(ask: Asker) -> Probed:
    function = {"name": "get_weather", "description": "The weather of a city.", "parameters": _TOOL}
    body = _chat(
        "What is the weather in Paris, in degrees Celsius?",
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    ) | {"max_tokens": _MAX_STRUCTURED_TOKENS}
    answer, body = await _ask(ask, "chat/completions", body)
    verdict, detail = _not_answered(answer) or _judge_call(answer)
    return Probed(Capability.FUNCTION_CALLING, verdict, detail, "chat/completions", body)


def _judge_call(answer: Answer) -> Judgement:
    function = _first(_message(answer).get("tool_calls")).get("function")
    if not isinstance(function, dict) or function.get("name") != "get_weather":
        return _cut(answer) or (
            Verdict.UNSUPPORTED,
            "The answer calls no tool, although 'tool_choice' required it.",
        )
    arguments = str(function.get("arguments"))
    try:
        fits = conforms(orjson.loads(arguments), _TOOL)
    except orjson.JSONDecodeError:
        fits = False
    if not fits:
        return _cut(answer) or (
            Verdict.UNSUPPORTED,
            f"The arguments do not conform: {_quoted(arguments)}.",
        )
    return Verdict.SUPPORTED, f"It called the tool with {_quoted(arguments)}."


async def embeddings(ask: Asker) -> Probed:
    inputs = [
        "A cat sleeps on the sofa.",
        "A cat sleeps on the sofa.",
        "Interest rates rose again.",
    ]
    body = {"input": inputs, "encoding_format": "float"}
    answer, body = await _ask(ask, "embeddings", body)
    verdict, detail = _not_answered(answer) or _judge_vectors(answer.body.get("data"))
    return Probed(Capability.EMBEDDINGS, verdict, detail, "embeddings", body)


def _judge_vectors(data: Any) -> Judgement:
    items = data if isinstance(data, list) else []
    vectors: list[Any] = [item.get("embedding") for item in items if isinstance(item, dict)]
    if len(vectors) != 3 or not all(_is_vector(vector) for vector in vectors):
        return Verdict.UNSUPPORTED, "The answer does not hold a vector for each text."
    same, again, other = vectors
    if not len(same) == len(again) == len(other):
        return Verdict.UNSUPPORTED, "The vectors differ in length."
    if _alike(same, other) or not _alike(same, again):
        return Verdict.UNSUPPORTED, "The vectors do not distinguish equal texts from different ones."
    return Verdict.SUPPORTED, f"Vectors of {len(same)} numbers; equal texts have equal ones."


def _is_vector(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(n, int | float) and isfinite(n) for n in value)
        and any(value)
    )


def _alike(left: list[float], right: list[float]) -> bool:
    """Equal but for the rounding of a batch: a cosine within a thousandth of 1."""
    product = sum(a * b for a, b in zip(left, right, strict=True))
    norms = sum(a * a for a in left) * sum(b * b for b in right)
    return isclose(product, norms**0.5, rel_tol=1e-3)


async def vision(ask: Asker) -> Probed:
    image = {"type": "image_url", "image_url": {"url": _red_square()}}
    question = {"type": "text", "text": "What colour is this square? Answer with one word."}
    body = _chat("") | {"messages": [{"role": "user", "content": [question, image]}]}
    answer, body = await _ask(ask, "chat/completions", body)
    verdict, detail = _not_answered(answer) or _judge_colour(_text(_message(answer)))
    return Probed(Capability.VISION, verdict, detail, "chat/completions", body)


def _judge_colour(written: str) -> Judgement:
    if "red" in written.lower():
        return Verdict.SUPPORTED, f"It named the colour of a red square: {_quoted(written)}."
    return (
        Verdict.INCONCLUSIVE,
        f"A picture was accepted, but its colour was not named: {_quoted(written)}.",
    )


def _red_square() -> str:
    """A PNG of 32 × 32 red pixels, as a data URL."""
    size = 32
    rows = (b"\0" + b"\xff\0\0" * size) * size

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


PROBES: Mapping[Capability, Probe] = {
    Capability.TEXT_GENERATION: text,
    Capability.CHAT_COMPLETION: chat,
    Capability.STREAMING: streaming,
    Capability.JSON_MODE: json_mode,
    Capability.FUNCTION_CALLING: tool_call,
    Capability.EMBEDDINGS: embeddings,
    Capability.VISION: vision,
}
