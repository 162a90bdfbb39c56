"""Digests of inference requests: equal for requests that lead to the same computation in a runner.

A digest is made of the parsed request, not of its bytes. Fields that the parser ignores, the order of fields, defaults
that are written out, other spellings of a number, and the form of the answer change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import orjson

from models_app.domain.traffic import inference
from models_app.domain.traffic.inference import ChatRequest, CompletionRequest, EmbeddingRequest

CHAT_PATH = "/v1/chat/completions"
_Parsed = ChatRequest | CompletionRequest | EmbeddingRequest
_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], _Parsed]] = {
    CHAT_PATH: inference.parse_chat,
    "/v1/completions": inference.parse_completion,
    "/v1/embeddings": inference.parse_embedding,
}
# The name of the model is a way to the same instance; the others only change the form of the answer.
_NOT_COMPUTED = frozenset({"model", "stream", "include_usage", "continuous_usage", "echo", "base64"})
_WITHOUT_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})


def digest(path: str, data: Mapping[str, Any]) -> str:
    """The digest of a request to a runner: 64 hexadecimal digits.

    Raises InvalidRequest for a body that the runner would refuse.
    """
    text = orjson.dumps(_computed(_PARSERS[path](data)), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(path.encode() + b"\n" + text).hexdigest()


def of_bytes(path: str, body: bytes) -> str:
    """For a body that cannot be parsed, which no runner computes."""
    return hashlib.sha256(path.encode() + b"\n\n" + body).hexdigest()


def _computed(parsed: _Parsed) -> dict[str, Any]:
    left_out = _NOT_COMPUTED
    if isinstance(parsed, ChatRequest) and parsed.tool_choice.kind == "none":
        left_out |= _WITHOUT_TOOLS
    return {item.name: _plain(getattr(parsed, item.name)) for item in fields(parsed) if item.name not in left_out}


def _plain(value: Any) -> Any:
    """`value` in types that JSON writes in one way only: values that compare as equal become equal."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        # 1.0 is 1, and -0.0 is 0; a whole number beyond 2**53 stays in its exponent form.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return value
