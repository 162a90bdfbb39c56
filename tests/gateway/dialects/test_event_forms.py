"""Everything that the SSE standard allows in a stream changes nothing of what a client reads, in each dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.gateway.dialects.streams import ChatPass, MessagesPass, Pipeline
from models_app.providers.anthropic.translation import ToAnthropic
from models_app.providers.messages.translation import FromMessages
from models_app.providers.responses.translation import FromResponses
from models_app.providers.wire.sse import EventReader
from tests.gateway.dialects.test_streams import COUNTED, DONE, LAST, MESSAGES, WORDS, passed

CHAT = WORDS + LAST + DONE

# Ways through the gateway, by the dialect of the client; each with the stream of a provider.
WAYS: dict[str, tuple[Callable[[], Any], bytes]] = {
    "chat": (lambda: ChatPass(hide_usage=False), CHAT),
    "messages": (MessagesPass, MESSAGES),
    "chat to messages": (lambda: Pipeline(ChatPass(hide_usage=False), FromMessages().stream(model="m")), CHAT),
    "chat to responses": (lambda: Pipeline(ChatPass(hide_usage=False), FromResponses().stream(model="m")), CHAT),
    "messages to chat": (lambda: Pipeline(ToAnthropic().stream(model="m"), ChatPass(hide_usage=False)), MESSAGES),
}


def over_two_lines(data: bytes) -> bytes:
    """JSON may be cut between two tokens."""
    return re.sub(rb"(?m)^data: \{(.*)$", rb"data: {\ndata: \1", data)


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as usual": lambda data: data,
    "without space": lambda data: data.replace(b"data: ", b"data:"),
    "with more space": lambda data: data.replace(b"data: ", b"data:  "),
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "cr": lambda data: data.replace(b"\n", b"\r"),
    "mixed line ends": lambda data: data.replace(b"\n\n", b"\r\n\n"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "comments between": lambda data: data.replace(b"\n\n", b"\n\n: ping\n\n"),
    "comments inside": lambda data: data.replace(b"data: ", b": here it comes\ndata: "),
    "empty data": lambda data: data.replace(b"\n\n", b"\n\ndata:\n\n", 3),
    "a field without colon": lambda data: data.replace(b"data: ", b"data\ndata: "),
    "ids and retries": lambda data: data.replace(b"data: ", b"id: 7\nretry: 3000\ndata: "),
    "unknown fields": lambda data: data.replace(b"data: ", b"x-trace: 1\nsomething\ndata: "),
    "more blank lines": lambda data: b"\n\n" + data.replace(b"\n\n", b"\n\n\n\n"),
    "over two lines": over_two_lines,
    "the end twice": lambda data: data + DONE,
    "no line end at the end": lambda data: data.rstrip(b"\n"),
    "one line end at the end": lambda data: data.rstrip(b"\n") + b"\n",
    "usage null": lambda data: data.replace(b'{"choices"', b'{"usage": null, "choices"', 1),
    "choices empty first": lambda data: b'data: {"choices": []}\n\n' + data if b'"choices"' in data else data,
    "delta null": lambda data: (
        data.replace(b"data: ", b'data: {"choices": [{"index": 0, "delta": null}]}\n\ndata: ', 1)
        if b'"choices"' in data
        else data
    ),
}
_MADE_UP = re.compile(r'"(id|item_id|created|created_at)":("[^"]*"|[0-9]+)')


def read(data: bytes) -> list[Any]:
    """What a client's parser reads, without ids and times, and without what is empty."""
    reader = EventReader()
    texts = [text for _, text in (*reader.feed(data), *reader.end())]
    values = [text if text == b"[DONE]" else json.loads(_MADE_UP.sub(r'"\1":0', text.decode())) for text in texts]
    return [value for value in values if not is_empty(value)]


def is_empty(value: Any) -> bool:
    """A chunk that a form adds, and that says nothing."""
    if not isinstance(value, dict) or "choices" not in value or value.get("usage"):
        return False
    return all(not choice.get("delta") and not choice.get("finish_reason") for choice in value["choices"])


def plain(value: Any) -> Any:
    """Without the counter of events, and fields that are null."""
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value


def understood(make: Callable[[], Any], *pieces: bytes) -> list[Any]:
    stream = make()
    found = [plain(value) for value in read(passed(stream, *pieces))]
    assert stream.done
    assert stream.usage == COUNTED
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_changes_nothing(way: str, form: str) -> None:
    make, data = WAYS[way]
    if form == "the end twice" and b"[DONE]" not in data:
        data = data.replace(DONE, b"")
        sent = data + data[data.rindex(b"event: message_stop") :]
    else:
        sent = FORMS[form](data)
    expected = understood(make, data)
    assert understood(make, sent) == expected
    assert understood(make, *(bytes([byte]) for byte in sent)) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(WAYS)),
    st.lists(st.sampled_from(sorted(set(FORMS) - {"the end twice", "over two lines"})), max_size=4, unique=True),
    st.lists(st.integers(0, 3000), max_size=6),
)
def test_several_forms_in_any_pieces_change_nothing(way: str, forms: list[str], cuts: list[int]) -> None:
    make, data = WAYS[way]
    sent = data
    # The mark comes first, and line ends are changed last.
    for form in sorted(forms, key=lambda name: (name in ("cr", "crlf", "mixed line ends"), name == "byte order mark")):
        sent = FORMS[form](sent)
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[start:end] for start, end in zip(places, places[1:], strict=False)]
    assert understood(make, *pieces) == understood(make, data)


@pytest.mark.parametrize("way", WAYS)
def test_an_event_of_many_megabytes_passes(way: str) -> None:
    make, data = WAYS[way]
    long = data.replace(b"h\\u00e9", b"x" * 12_000_000).replace(b"\\u00e9\\u2026", b"x" * 12_000_000)
    assert len(long) > 12_000_000
    pieces = [long[at : at + 65_536] for at in range(0, len(long), 65_536)]
    assert b"x" * 12_000_000 in passed(make(), *pieces)
