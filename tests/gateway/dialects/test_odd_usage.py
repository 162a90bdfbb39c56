"""Counts that make no sense, that are missing, or that grow with each chunk."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain.catalog.pricing import Usage
from models_app.gateway.dialects.streams import ChatPass, MessagesPass, Pipeline
from models_app.providers.anthropic.translation import ToAnthropic
from models_app.providers.messages.translation import FromMessages
from models_app.providers.responses.translation import FromResponses
from tests.gateway.dialects.test_streams import passed

NONSENSE: list[Any] = [None, 1.5, 7.0, "7", -1, True, 10**18, [], {}, float("1e300")]
WAYS: dict[str, tuple[str, Callable[[], Any]]] = {
    "chat": ("chat", lambda: ChatPass(hide_usage=False)),
    "messages": ("messages", MessagesPass),
    "chat to messages": (
        "chat",
        lambda: Pipeline(ChatPass(hide_usage=False), FromMessages().stream(model="m")),
    ),
    "chat to responses": (
        "chat",
        lambda: Pipeline(ChatPass(hide_usage=False), FromResponses().stream(model="m")),
    ),
    "messages to chat": (
        "messages",
        lambda: Pipeline(ToAnthropic().stream(model="m"), ChatPass(hide_usage=False)),
    ),
}
every_way = pytest.mark.parametrize("way", WAYS)


def stream_of(dialect: str, *counts: Any) -> bytes:
    """A stream whose events have these usage objects; the last is behind the finish."""
    if dialect == "chat":
        values: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], "usage": one}
            for one in counts[:-1]
        ]
        values.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        values.append({"choices": [], "usage": counts[-1]})
        return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values) + b"data: [DONE]\n\n"
    renamed = [
        {"input_tokens": one.get("prompt_tokens"), "output_tokens": one.get("completion_tokens")}
        if isinstance(one, dict)
        else one
        for one in counts
    ]
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    values = [
        {"type": "message_start", "message": {"id": "m", "usage": renamed[0]}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({**delta, "usage": one} for one in renamed),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": renamed[-1]},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode() for value in values)


def counted(way: str, *counts: Any) -> Usage:
    dialect, make = WAYS[way]
    stream = make()
    passed(stream, stream_of(dialect, *counts))
    assert stream.done
    return stream.usage or Usage()


@every_way
@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_unknown_and_never_zero(way: str, value: Any) -> None:
    counts = {"prompt_tokens": value, "completion_tokens": value}
    assert counted(way, counts, counts) == Usage()


@every_way
@pytest.mark.parametrize("counts", [None, {}, 7, "many", []])
def test_a_usage_that_is_none_is_unknown(way: str, counts: Any) -> None:
    assert counted(way, counts, counts) == Usage()


@every_way
def test_counts_that_grow_are_not_summed(way: str) -> None:
    growing = [{"prompt_tokens": 9, "completion_tokens": number} for number in range(1, 8)]
    found = counted(way, *growing)
    assert (found.prompt, found.completion) == (9, 7)


@every_way
@pytest.mark.parametrize("last", [None, {}, {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens": "x"}])
def test_nonsense_at_the_end_takes_no_count_away(way: str, last: Any) -> None:
    good = {"prompt_tokens": 9, "completion_tokens": 7}
    found = counted(way, good, good, last)
    # Anthropic's first event counts only the prompt.
    assert (found.prompt, found.completion) in ((9, 7), (9, None))
    assert WAYS[way][0] == "messages" or found.completion == 7


@pytest.mark.parametrize("value", NONSENSE)
def test_a_response_without_counts_has_no_usage(value: Any) -> None:
    counts = {"prompt_tokens": value, "completion_tokens": value}
    data = passed(WAYS["chat to responses"][1](), stream_of("chat", counts, counts))
    last = json.loads(data.rstrip().rpartition(b"data: ")[2])
    assert last["response"]["usage"] is None
