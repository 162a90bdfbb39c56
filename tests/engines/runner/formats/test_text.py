from __future__ import annotations

import pytest

from models_app.engines.runner.formats.text import TextStream
from tests.engines.runner.batching.rig import Rig


def shown(stream: TextStream, *pieces: bytes) -> list[str]:
    return [stream.feed(piece) for piece in pieces] + [stream.finish()]


def test_a_character_is_held_back_until_it_is_whole() -> None:
    assert shown(TextStream(), b"caf\xc3", b"\xa9", b"!") == ["caf", "\u00e9", "!", ""]


def test_a_torn_character_becomes_a_replacement_at_the_end() -> None:
    assert shown(TextStream(), b"a\xf0\x9f") == ["a", "\ufffd"]


def test_a_stop_string_ends_the_text_before_it() -> None:
    stream = TextStream(["STOP"])

    assert shown(stream, b"go ST", b"OP on") == ["go ", "", ""]
    assert stream.stopped


def test_what_only_began_like_a_stop_string_is_shown() -> None:
    stream = TextStream(["STOP"])

    assert shown(stream, b"S", b"TO", b"NE") == ["", "", "STONE", ""]
    assert not stream.stopped


def test_what_is_held_back_at_the_end_is_shown() -> None:
    assert shown(TextStream(["STOP"]), b"ST") == ["", "ST"]


def test_the_first_of_several_stop_strings_counts() -> None:
    assert shown(TextStream(["b", "ab"]), b"xab") == ["x", ""]


def test_an_empty_stop_string_stops_nothing() -> None:
    assert shown(TextStream([""]), b"abc") == ["abc", ""]


@pytest.mark.llama
def test_a_stop_string_may_span_tokens(story: Rig) -> None:
    work = story.start("\n", max_tokens=200, stop=("the mat and",))

    assert story.text(work).endswith("The cat sat on ")
    assert story.finished(work).reason == "stop"


@pytest.mark.llama
def test_an_accent_that_is_two_tokens_arrives_whole(story: Rig) -> None:
    work = story.start("\n", max_tokens=200)

    assert "caf\u00e9" in story.text(work)
    assert all("\ufffd" not in piece.text for piece in story.pieces(work))
