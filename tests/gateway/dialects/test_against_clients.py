"""Damaged and odd streams through the gateway and through the official clients' own readers.

What the client itself reads from a provider's stream, it reads from the gateway's: the same texts, or a clear error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from models_app.domain.errors import NoaError
from models_app.gateway.dialects.streams import ChatPass, ErrorEvent, MessagesPass
from models_app.gateway.upstream.connection import UpstreamError
from tests.gateway.dialects.test_event_forms import CHAT, FORMS
from tests.gateway.dialects.test_streams import MESSAGES

CASES = 2_500
_WORDS = (
    b"\n", b"\n\n", b"\r\n", b"\r", b"\r\r", b":", b": ping\n\n", b"data:", b"data: ", b"event: ping\n", b"id: 1\n",
    b"retry: 10\n", b"\xef\xbb\xbf", b"data\n", b"[DONE]", b"data: [DONE]\n\n", b"{", b"}", b'"', b"\\", b"\x00",
    b"null", b"\xff", b"event: error\n", b'data: {"error": {"message": "no"}}\n\n', b"\xe2\x80\xa8", b"\xc2\x85",
    b"\x0b", b"\x0c", b"\x1c",
)  # fmt: skip


def mutated(good: bytes, chance: random.Random) -> bytes:
    """The stream in some of the forms that the standard allows, then with a few damages."""
    data = good
    for form in chance.sample(sorted(set(FORMS) - {"the end twice", "over two lines"}), chance.randrange(3)):
        data = FORMS[form](data)
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at = chance.randrange(len(data))
        until = at + chance.choice((0, 0, 0, 1, 3, 20, 100))
        middle = chance.choice((chance.choice(_WORDS), b"", data[at:until] * 2))
        data = data[:at] + middle + data[until:]
        data = data or b"\n"
    return data


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 5))))
    places = [0, *cuts, len(data)]
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, sent: list[bytes]) -> None:
        self._sent = sent

    def __iter__(self) -> Iterator[bytes]:
        yield from self._sent


class Canned(httpx2.BaseTransport):
    """Answers every request with the same stream."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=_Pieces(self.sent), request=request)


_CANNED = Canned()
_HTTP = httpx2.Client(transport=_CANNED)
_OPENAI = openai.OpenAI(api_key="k", base_url="http://x.example/v1", http_client=_HTTP, max_retries=0)
_ANTHROPIC = anthropic.Anthropic(api_key="k", base_url="http://x.example", http_client=_HTTP, max_retries=0)


def _chat_text(sent: list[bytes]) -> str:
    _CANNED.sent = sent
    message: Any = {"role": "user", "content": "hi"}
    found = []
    for chunk in _OPENAI.chat.completions.create(model="m", messages=[message], stream=True):
        for choice in chunk.choices or []:
            found.append((choice.delta.content if choice.delta else None) or "")
    return "".join(found)


def _messages_text(sent: list[bytes]) -> str:
    _CANNED.sent = sent
    message: Any = {"role": "user", "content": "hi"}
    found = []
    for event in _ANTHROPIC.messages.create(model="m", max_tokens=9, messages=[message], stream=True):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            found.append(event.delta.text)
    return "".join(found)


def through(make: Callable[[], Any], sent: list[bytes]) -> bytes | None:
    """The stream that the gateway forwards; None if it ends with an error instead."""
    stream, found = make(), []
    try:
        found += [stream.feed(piece) for piece in sent]
        found.append(stream.end())
    except (UpstreamError, ErrorEvent, NoaError):
        return None
    return b"".join(found)


WAYS: dict[str, tuple[bytes, Callable[[], Any], Callable[[list[bytes]], str]]] = {
    "openai": (CHAT, lambda: ChatPass(hide_usage=False), _chat_text),
    "anthropic": (MESSAGES, MessagesPass, _messages_text),
}


def read(text_of: Callable[[list[bytes]], str], sent: list[bytes]) -> str | None:
    """The text that a client reads; None if it raises an error, of its own or in its code."""
    try:
        return text_of(sent)
    except (openai.OpenAIError, anthropic.AnthropicError, ValueError, AttributeError, TypeError, KeyError):
        return None


@pytest.mark.parametrize("way", WAYS)
def test_a_good_stream_is_the_same(way: str) -> None:
    good, make, text_of = WAYS[way]
    passed = through(make, [good])
    assert passed is not None
    assert read(text_of, [passed]) == read(text_of, [good]) != ""


@pytest.mark.wide
@pytest.mark.parametrize("way", WAYS)
def test_what_the_client_reads_is_the_same_behind_the_gateway_or_an_error(way: str) -> None:
    good, make, text_of = WAYS[way]
    same = 0
    for seed in range(CASES):
        chance = random.Random(seed)
        sent = pieces(mutated(good, chance), chance)
        passed = through(make, sent)
        if passed is None:
            continue
        # OpenAI's client does not know the mark that the standard allows.
        direct = read(text_of, [b"".join(sent).removeprefix(b"\xef\xbb\xbf")])
        if direct is None:
            # The gateway reads more than the client, and does not check values that only the client uses.
            continue
        assert read(text_of, [passed]) == direct, (seed, b"".join(sent), passed)
        same += 1
    # Most mutations are harmless, and must not end as an error either.
    assert same > CASES // 3
