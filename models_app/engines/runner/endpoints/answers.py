"""JSON of answers: ids, usage, log-probabilities, streamed chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models_app.engines.runner.batching.generation import Finished, TokenChoice, TokenLogprob

DONE = b"data: [DONE]\n\n"
# JSON has no infinity; OpenAI uses this for an impossible token.
_LOWEST_LOGPROB = -9999.0


@dataclass(slots=True)
class Usage:
    """Tokens of one request. The prompt counts once, whatever the number of choices."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def add(self, finished: Finished, *, first_choice: bool) -> None:
        self.completion_tokens += finished.completion_tokens
        if first_choice:
            self.prompt_tokens += finished.prompt_tokens
            self.cached_tokens += finished.cached_tokens

    def as_dict(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def envelope(kind: str, prefix: str, model: str, fingerprint: str) -> dict[str, Any]:
    """The common fields of every answer."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
    }


class Chunks:
    """Builds the chunks of one stream. All but the text is serialised once, because this runs for every token.

    `chat` selects the field of a choice's text: `"delta":{"content":…}`, or `"text":…` of completions.
    """

    def __init__(self, head: Mapping[str, Any], *, include_usage: bool, chat: bool) -> None:
        self._head = dict(head)
        self._chat = chat
        # With include_usage every chunk but the last carries a null.
        usage = {"usage": None} if include_usage else {}
        self._start = b"data: " + orjson.dumps(self._head | usage)[:-1] + b',"choices":[{"index":'
        self._open = b',"delta":{"content":' if chat else b',"text":'
        self._close = b"}" if chat else b""
        self._plain = self._close + b',"logprobs":null,"finish_reason":null}]}\n\n'

    def text(self, index: int, text: str, logprobs: object = None) -> bytes:
        start = b"%b%d%b" % (self._start, index, self._open)
        if logprobs is None:
            return start + orjson.dumps(text) + self._plain
        tail = b',"logprobs":%b,"finish_reason":null}]}\n\n' % orjson.dumps(logprobs)
        return start + orjson.dumps(text) + self._close + tail

    def delta(self, index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        """A chunk of a chat that is not plain text: the role, a tool call, the end."""
        body = orjson.dumps({"delta": delta, "logprobs": None, "finish_reason": finish_reason})
        return b"%b%d,%b]}\n\n" % (self._start, index, body[1:])

    def finish(self, index: int, reason: str) -> bytes:
        if self._chat:
            return self.delta(index, {}, reason)
        tail = b'"","logprobs":null,"finish_reason":%b}]}\n\n' % orjson.dumps(reason)
        return b"%b%d%b%b" % (self._start, index, self._open, tail)

    def usage(self, usage: Usage) -> bytes:
        """The last chunk of a stream with `stream_options.include_usage`."""
        body = self._head | {"choices": [], "usage": usage.as_dict()}
        return b"data: " + orjson.dumps(body) + b"\n\n"


def usage_comment(usage: Usage) -> bytes:
    """An SSE comment for the gateway, which counts tokens even when the client did not request usage."""
    return b": noa " + orjson.dumps({"usage": usage.as_dict()}) + b"\n\n"


def chat_logprobs(choices: tuple[TokenChoice, ...]) -> dict[str, Any]:
    content = [_token(choice.chosen) | {"top_logprobs": [_token(token) for token in choice.top]} for choice in choices]
    return {"content": content, "refusal": None}


def completion_logprobs(choices: tuple[TokenChoice, ...], offset: int) -> dict[str, Any]:
    """`offset` is the position of the first token in the text of the choice, in characters."""
    tokens = [_text(choice.chosen) for choice in choices]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [_finite(choice.chosen.logprob) for choice in choices],
        "top_logprobs": [{_text(token): _finite(token.logprob) for token in choice.top} for choice in choices],
        "text_offset": offsets,
    }


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": _text(token), "logprob": _finite(token.logprob), "bytes": list(token.text)}


def _text(token: TokenLogprob) -> str:
    return token.text.decode("utf-8", "replace")


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST_LOGPROB)
