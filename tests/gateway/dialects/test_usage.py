"""Token counts read from forwarded answers, and events kept whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.catalog.pricing import Usage
from models_app.gateway.dialects import usage
from models_app.gateway.dialects.streams import EventFence
from models_app.providers.wire import chat_answers
from tests.fakes.upstream import USAGE, event, stream_events, whole_answer

OPENAI_STREAM = (
    b'data: {"choices":[{"delta":{"content":"\\"usage\\": {\\"x\\": 1}"}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\ndata: [DONE]\n\n"
)


COUNTS = chat_answers.counted(USAGE)


def counted(parts: list[bytes]) -> Usage:
    tail = usage.UsageTail()
    for part in parts:
        tail.feed(part)
    return tail.counts()


@pytest.mark.parametrize(
    "answer",
    [b"".join(stream_events()), OPENAI_STREAM, whole_answer("/v1/chat/completions")],
    ids=["runner", "openai", "whole"],
)
def test_every_split_gives_the_same_usage(answer: bytes) -> None:
    for point in range(len(answer) + 1):
        assert counted([answer[:point], answer[point:]]) == COUNTS
    for size in (1, 2, 3, 7):
        assert counted([answer[at : at + size] for at in range(0, len(answer), size)]) == COUNTS


def test_a_long_answer_is_not_kept_whole() -> None:
    tail = usage.UsageTail()
    for _ in range(1000):
        tail.feed(event("x" * 5000))
    tail.feed(b"".join(stream_events()))
    assert tail.counts() == COUNTS
    assert tail._size < 64 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b'{"usage": null}',
        b'{"usage": 7}',
        b'{"usage": {"a": }}',
        b'"usage"',
        b'"usage": {',
        b'"usage": {{{}',
    ],
)
def test_an_answer_without_usage_has_none(answer: bytes) -> None:
    assert usage.of_whole(answer) == {}


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "7", 10**18, [], {}])
def test_a_count_that_makes_no_sense_is_unknown(value: object) -> None:
    assert chat_answers.tokens({"prompt_tokens": value}, "prompt_tokens") is None
    assert chat_answers.counted({"prompt_tokens_details": {"cached_tokens": value}}).cached is None


def test_the_fence_lets_whole_events_through_at_every_split() -> None:
    answer = b"".join(stream_events())
    for point in range(len(answer) + 1):
        fence = EventFence()
        first = fence.feed(answer[:point])
        assert not first or first.endswith(b"\n\n")
        assert first + fence.feed(answer[point:]) + fence.rest() == answer


def test_the_fence_holds_back_only_the_event_that_is_not_whole() -> None:
    fence = EventFence()
    assert fence.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert fence.feed(b"\n") == b""
    assert fence.feed(b"\ndata: 3\n\n") == b"data: 2\n\ndata: 3\n\n"
    assert fence.rest() == b""


def test_the_fence_does_not_hold_an_endless_event() -> None:
    fence = EventFence()
    passed = sum(len(fence.feed(b"x" * 300_000)) for _ in range(60))
    assert passed > 16_000_000


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_the_fence_loses_nothing_and_lets_only_whole_events_through(data: bytes, cuts: list[int]) -> None:
    data = data.replace(b"\x00", b"\n")
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    fence = EventFence()
    found = b""
    for start, end in zip(places, places[1:], strict=False):
        found += fence.feed(data[start:end])
        assert not found or found.endswith(b"\n\n")
    assert found + fence.rest() == data
    assert b"\n\n" not in fence.rest()
