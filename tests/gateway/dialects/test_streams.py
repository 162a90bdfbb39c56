"""Streams of events, in pieces of any size and from servers of any kind."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.catalog.pricing import Usage
from models_app.gateway.dialects.streams import ChatPass, ErrorEvent, EventPass, MessagesPass, Pipeline
from models_app.gateway.upstream.connection import Broken, Malformed
from models_app.providers.anthropic.translation import ToAnthropic
from models_app.providers.messages.translation import FromMessages

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
COUNTED = Usage(prompt=9, completion=3, cached=4)


def chunk(content: str = "", finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


LAST = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
WORDS = chunk('say "usage": {', usage=None) + chunk("é…", "stop", usage=None)
CHAT = WORDS + LAST + DONE
HIDDEN = WORDS + DONE

MESSAGES = b"".join(
    b"event: %b\ndata: %b\n\n" % (value["type"].encode(), json.dumps(value).encode())  # type: ignore[attr-defined]
    for value in (
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 5, "cache_read_input_tokens": 4}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hé"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )
)

STREAMS: dict[str, tuple[Callable[[], EventPass | Pipeline], bytes]] = {
    "chat": (lambda: ChatPass(hide_usage=False), CHAT),
    "chat_hidden": (lambda: ChatPass(hide_usage=True), CHAT),
    "chat_crlf": (lambda: ChatPass(hide_usage=True), CHAT.replace(b"\n", b"\r\n")),
    "messages": (MessagesPass, MESSAGES),
    "to_anthropic": (
        lambda: Pipeline(ToAnthropic().stream(model="m"), ChatPass(hide_usage=True)),
        MESSAGES,
    ),
    "from_messages": (
        lambda: Pipeline(ChatPass(hide_usage=False), FromMessages().stream(model="m")),
        CHAT,
    ),
}
every_stream = pytest.mark.parametrize(("make", "data"), STREAMS.values(), ids=STREAMS.keys())


def passed(stream: EventPass | Pipeline, *pieces: bytes) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.end()


def without_names(data: bytes) -> bytes:
    """Translations derive the ids of their answers from the time."""
    return b"\n".join(line for line in data.split(b"\n") if b'"created"' not in line)


@every_stream
def test_every_split_gives_the_same(make: Callable[[], EventPass | Pipeline], data: bytes) -> None:
    whole = make()
    expected = without_names(passed(whole, data))
    assert whole.done and whole.usage == COUNTED
    for at in range(1, len(data)):
        stream = make()
        assert without_names(passed(stream, data[:at], data[at:])) == expected, at
        assert (stream.done, stream.usage) == (True, COUNTED)
    one_by_one = make()
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert without_names(passed(one_by_one, *pieces)) == expected


def test_what_is_not_hidden_passes_byte_for_byte() -> None:
    assert passed(ChatPass(hide_usage=False), CHAT) == CHAT
    assert passed(ChatPass(hide_usage=True), CHAT) == HIDDEN
    assert passed(MessagesPass(), MESSAGES) == MESSAGES


def test_comments_do_not_reach_the_client() -> None:
    """Some clients cannot read them; what keeps a silent stream alive is sent by the gateway itself."""
    noisy = CHAT.replace(b"data: ", b": inside\ndata: ").replace(b"\n\n", b"\n\n: between\n\n:\n\n")
    assert passed(ChatPass(hide_usage=False), noisy) == CHAT
    assert passed(MessagesPass(), MESSAGES.replace(b"\n\n", b"\n: inside\n\n: between\n\n")) == MESSAGES


def test_a_ping_before_the_first_event_is_not_the_beginning_of_an_answer() -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert passed(MessagesPass(), ping * 2 + MESSAGES) == MESSAGES
    after_start = MESSAGES.replace(b"event: content_block_start", ping + b"event: content_block_start")
    assert passed(MessagesPass(), after_start) == after_start


@pytest.mark.parametrize("garbage", [chunk("more"), b"<html>", b"data: {bad\n\n", DONE * 3, b"\x00" * 100])
def test_what_follows_the_end_is_dropped(garbage: bytes) -> None:
    assert passed(ChatPass(hide_usage=True), CHAT + garbage) == HIDDEN
    assert passed(ChatPass(hide_usage=True), CHAT, garbage) == HIDDEN


def test_a_missing_blank_line_at_the_end_is_no_harm() -> None:
    assert passed(ChatPass(hide_usage=True), CHAT.rstrip()) == HIDDEN


@pytest.mark.parametrize(
    ("stream", "data", "owed"),
    [
        (ChatPass(hide_usage=True), WORDS + LAST, DONE),
        (MessagesPass(), MESSAGES[: MESSAGES.rindex(b"event:")], b"message_stop"),
    ],
)
def test_an_end_that_is_not_said_is_said_when_the_model_had_finished(
    stream: EventPass, data: bytes, owed: bytes
) -> None:
    assert owed in passed(stream, data)
    assert stream.done


@every_stream
def test_a_stream_that_is_cut_is_broken(make: Callable[[], EventPass | Pipeline], data: bytes) -> None:
    finish = min(at for at in (data.find(b'"stop"'), data.find(b'"end_turn"')) if at >= 0)
    for at in range(0, finish - 40, 7):
        with pytest.raises(Broken):
            passed(make(), data[:at])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"data: {bad\n\n", Malformed),
        (b"data: []\n\n", Malformed),
        (b"<html>\n\n", Malformed),
        (b'data: {"error": {"message": "no"}}\n\n', ErrorEvent),
        (b'data: {"error": "no"}\n\n', ErrorEvent),
        (b"data: " + b"x" * 17_000_000, Malformed),
    ],
)
def test_what_is_no_event_is_not_passed_on(data: bytes, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        ChatPass(hide_usage=True).feed(data)


@pytest.mark.parametrize("name", STREAMS)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([CHAT, MESSAGES, DONE, b"\n\n", b"data: "])))
def test_nothing_else_is_raised_whatever_comes(name: str, pieces: list[bytes]) -> None:
    stream = STREAMS[name][0]()
    try:
        passed(stream, *pieces)
    except (Broken, Malformed, ErrorEvent):
        return
    assert stream.done
