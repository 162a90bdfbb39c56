from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.providers.wire.sse import DONE, Event, EventReader, EventTooLong, named, unnamed

RECORDED = (
    b"\xef\xbb\xbf: a comment\r\n\r\nevent: one\r\ndata: 1\r\n\r\n"
    b"id: 7\ndata: two\ndata: lines\nretry: 5\n\n\n\nevent: none\n\n"
    b"data:tight\n\ndata\n\r\ndata: \xc3\xa9\r\rdata: last"
)
FOUND = [
    ("one", b"1"),
    ("", b"two\nlines"),
    ("", b"tight"),
    ("", b"\xc3\xa9"),
    ("", b"last"),
]


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.end()


def test_it_reads_every_kind_of_line() -> None:
    assert read(RECORDED) == FOUND


def test_it_reads_the_same_however_it_is_cut() -> None:
    for at in range(len(RECORDED) + 1):
        assert read(RECORDED[:at], RECORDED[at:]) == FOUND, at
    assert read(*(bytes([byte]) for byte in RECORDED)) == FOUND


@given(st.lists(st.integers(0, len(RECORDED)), max_size=6))
def test_it_reads_the_same_in_any_pieces(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(RECORDED)]
    pairs = zip(places, places[1:], strict=False)
    assert read(*(RECORDED[start:end] for start, end in pairs)) == FOUND


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    whole = read(data)
    for at in range(0, len(data), 7):
        assert read(data[:at], data[at:]) == whole


def test_an_event_that_does_not_end_is_given_up() -> None:
    reader = EventReader(limit=100)
    reader.feed(b"data: " + b"x" * 50)
    with pytest.raises(EventTooLong):
        reader.feed(b"x" * 50)


def test_many_events_are_no_long_event() -> None:
    reader = EventReader(limit=100)
    assert len(reader.feed(b"data: 1\n\n" * 100)) == 100


def test_what_it_writes_it_reads() -> None:
    written = unnamed({"a": "x\ny"}) + named({"type": "ping"}) + DONE
    assert read(written) == [("", b'{"a":"x\\ny"}'), ("ping", b'{"type":"ping"}'), ("", b"[DONE]")]
