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
        self._states_usage = include_usage
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

    def delta(self, index: int, delta: Mapping[str, Any], *, usage: Usage | None = None) -> bytes:
        """A chunk of a chat that is not plain text: the role, a tool call."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._chunk(choice, usage)

    def finish(self, index: int, reason: str, stop: str = "") -> bytes:
        """The last chunk of a choice. `stop` is the stop string that ended it."""
        text: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        choice = {"index": index, **text, "logprobs": None, "finish_reason": reason}
        return self._chunk(choice | stop_reason(stop), None)

    def _chunk(self, choice: Mapping[str, Any], usage: Usage | None) -> bytes:
        stated: dict[str, Any] = {"usage": None} if self._states_usage else {}
        if usage is not None:
            stated["usage"] = usage.as_dict()
        return b"data: " + orjson.dumps(self._head | stated | {"choices": [choice]}) + b"\n\n"

    def usage(self, usage: Usage) -> bytes:
        """The last chunk of a stream with `stream_options.include_usage`."""
        body = self._head | {"choices": [], "usage": usage.as_dict()}
        return b"data: " + orjson.dumps(body) + b"\n\n"


def stop_reason(stop: str) -> dict[str, str]:
    """The field in which vLLM names the stop string that ended an answer; none when none did."""
    return {"stop_reason": stop} if stop else {}


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
        # As at OpenAI, the chosen token is always among them.
        "top_logprobs": [
            {_text(token): _finite(token.logprob) for token in (*choice.top, choice.chosen)} for choice in choices
        ],
        "text_offset": offsets,
    }


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": _text(token), "logprob": _finite(token.logprob), "bytes": list(token.text)}


def _text(token: TokenLogprob) -> str:
    return token.text.decode("utf-8", "replace")


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST_LOGPROB)
