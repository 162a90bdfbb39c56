"""Finding tool calls in a model's output, however it is split into pieces."""

from __future__ import annotations

import pytest

from models_app.engines.runner.formats.tools import Found, ToolCall, ToolCallReader

CALL = '<tool_call>\n{"name": "look_up", "arguments": {"word": "cat"}}\n</tool_call>'
SECOND = '<tool_call>{"name": "stop", "arguments": {}}</tool_call>'


def read(*pieces: str) -> list[Found]:
    reader = ToolCallReader()
    found = [item for piece in pieces for item in reader.feed(piece)]
    return found + reader.finish()


def texts(found: list[Found]) -> str:
    return "".join(item for item in found if isinstance(item, str))


def calls(found: list[Found]) -> list[tuple[str, str]]:
    return [(item.name, item.arguments) for item in found if isinstance(item, ToolCall)]


def test_it_finds_a_call_after_text() -> None:
    found = read("Let me see. " + CALL)
    assert texts(found) == "Let me see. "
    assert calls(found) == [("look_up", '{"word":"cat"}')]


def test_it_finds_several_calls_and_drops_the_space_between_them() -> None:
    found = read(CALL + "\n" + SECOND + "\n")
    assert texts(found) == ""
    assert [name for name, _ in calls(found)] == ["look_up", "stop"]


def test_every_call_has_its_own_id() -> None:
    ids = {item.id for item in read(CALL + CALL) if isinstance(item, ToolCall)}
    assert len(ids) == 2


@pytest.mark.parametrize("text", [f"Hi <b> {CALL}\n{SECOND} <tool", CALL, "a < b", "<<tool_call>"])
def test_where_the_pieces_are_cut_changes_nothing(text: str) -> None:
    whole = read(text)
    for size in range(1, 12):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert texts(read(*pieces)) == texts(whole)
        assert calls(read(*pieces)) == calls(whole)


def test_it_gives_text_away_as_soon_as_it_cannot_be_a_tag() -> None:
    reader = ToolCallReader()
    assert reader.feed("one <tool") == ["one "]
    assert reader.feed("box>") == ["<toolbox>"]


@pytest.mark.parametrize(
    "broken",
    [
        "<tool_call>not json</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>[]</tool_call>",
        '<tool_call>{"name": 5}</tool_call>',
        '<tool_call>{"name": "f", "argu',
        "<tool_call>",
    ],
)
def test_what_is_no_call_stays_text(broken: str) -> None:
    found = read("Hm " + broken)
    assert texts(found) == "Hm " + broken
    assert not calls(found)


def test_a_whole_call_counts_without_its_closing_tag() -> None:
    assert calls(read('<tool_call>{"name": "f", "arguments": {"a": 1}}')) == [("f", '{"a":1}')]


def test_arguments_may_be_named_parameters_or_be_text() -> None:
    assert calls(read('<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>')) == [("f", '{"a":1}')]
    assert calls(read('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>')) == [("f", "{}")]
