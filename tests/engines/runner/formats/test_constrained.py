"""The grammars of chats: which answers their tools and formats allow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic.inference import parse_chat
from models_app.engines.runner.formats.constrained import grammar_of
from models_app.engines.runner.grammar.channels import GrammarProgram
from models_app.engines.runner.grammar.compiling import GrammarCheck
from tests.engines.runner.conftest import Accepts
from tests.engines.runner.grammar.random_schemas import ODD

pytestmark = pytest.mark.llama

WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"word": "tea"}}\n</tool_call>'
SECOND = '<tool_call>{"name":"stop","arguments":{}}</tool_call>'
NAMED: Mapping[str, Any] = {"type": "function", "function": {"name": "look_up"}}


def tool(name: str, parameters: Any = None, *, strict: bool = False) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {}, "strict": strict}}


TOOLS = [tool("look_up", WORD), tool("stop")]
STRICT = [tool("look_up", WORD, strict=True), tool("stop")]


@pytest.fixture(scope="module")
def program(tiny_model: Path) -> Iterator[GrammarProgram]:
    running = GrammarProgram(str(tiny_model))
    yield running
    running.close()


def grammar(program: GrammarProgram, *, several: bool = True, **fields: Any) -> str | None:
    chat = parse_chat({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})

    async def main() -> str | None:
        return await grammar_of(GrammarCheck(program), chat, several=several)

    return asyncio.run(main())


def required(program: GrammarProgram, **fields: Any) -> str:
    text = grammar(program, **fields)
    assert text is not None
    return text


def schema_format(schema: Any, *, strict: bool = False) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": strict}}


def test_a_forced_call_is_one_of_the_tools(program: GrammarProgram, accepts: Accepts) -> None:
    text = required(program, tools=TOOLS, tool_choice="required", several=False)
    assert accepts(text, CALL)
    assert accepts(text, SECOND)
    assert not accepts(text, "I would rather talk.")
    assert not accepts(text, CALL.replace("look_up", "format_disk"))
    assert not accepts(text, CALL.replace("word", "number"))
    assert not accepts(text, f"{CALL}\n{SECOND}")


def test_several_calls_are_allowed_where_they_may_be(program: GrammarProgram, accepts: Accepts) -> None:
    text = required(program, tools=TOOLS, tool_choice="required")
    assert accepts(text, f"{CALL}\n{SECOND}")
    assert not accepts(text, "\n".join([SECOND] * 9))


def test_a_named_tool_is_the_only_one(program: GrammarProgram, accepts: Accepts) -> None:
    text = required(program, tools=TOOLS, tool_choice=NAMED, several=False)
    assert accepts(text, CALL)
    assert not accepts(text, SECOND)


def test_a_model_that_may_choose_is_free_without_a_strict_tool(program: GrammarProgram) -> None:
    assert grammar(program, tools=TOOLS) is None
    assert grammar(program, tools=STRICT, tool_choice="none") is None
    assert grammar(program) is None


def test_a_call_that_the_model_chooses_keeps_to_a_strict_tool(program: GrammarProgram, accepts: Accepts) -> None:
    text = required(program, tools=STRICT)
    for answer in ("", "Hello <tool", f"Well: {CALL}", f"{CALL}\n{SECOND} and more", "<<tool_call", "é 🇩🇪 {}"):
        assert accepts(text, answer), answer
    wrong = CALL.replace("word", "number")
    for answer in (
        wrong,
        f"Well: {wrong}",
        f"{CALL}\n{wrong}",
        f"{SECOND * 9}{wrong}",
        "<tool_call>free text</tool_call>",
    ):
        assert not accepts(text, answer), answer


def test_json_and_calls_stand_beside_each_other(program: GrammarProgram, accepts: Accepts) -> None:
    text = required(program, tools=TOOLS, response_format={"type": "json_object"})
    assert accepts(text, CALL)
    assert accepts(text, '{"a": [1]}')
    assert not accepts(text, "[1]")
    assert not accepts(text, "Hello")


@pytest.mark.parametrize("name", ['quoted "name"', "line\nbreak", "back\\slash", "🇩🇪", "\x01", "%json {", "a: b // c"])
def test_names_and_constants_of_any_characters_are_written_exactly(
    program: GrammarProgram, accepts: Accepts, name: str
) -> None:
    schema = {"type": "object", "properties": {name: {"const": name}}, "required": [name]}
    text = required(program, response_format=schema_format(schema, strict=True))
    assert accepts(text, json.dumps({name: name}, ensure_ascii=False))
    assert not accepts(text, json.dumps({name: name + "x"}, ensure_ascii=False))


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_one_odd_keyword_of_one_tool_refuses_nothing(program: GrammarProgram, accepts: Accepts, odd: Any) -> None:
    tools = [*TOOLS, tool("odd", {"type": "object", "properties": {"a": odd}})]
    text = required(program, tools=tools, tool_choice="required")
    assert accepts(text, CALL)
    assert not accepts(text, CALL.replace("word", "number"))
    assert not accepts(text, CALL.replace("look_up", "odd").replace('{"word": "tea"}', "[]"))


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("place", ["tools", "response_format"])
def test_a_strict_schema_is_kept_or_refused_with_its_place(program: GrammarProgram, odd: Any, place: str) -> None:
    schema = {"type": "object", "properties": {"a": odd}, "required": ["a"], "additionalProperties": False}
    fields: dict[str, Any] = {"tools": [tool("f", schema, strict=True)]}
    fields["response_format"] = schema_format(schema, strict=True)
    kept = ({"type": "number", "multipleOf": 0}, {"$schema": "https://example.com/dialect"})
    if odd in kept:
        return
    with pytest.raises(InvalidRequest) as refusal:
        required(program, **{place: fields[place]})
    assert refusal.value.code == "invalid_schema"
    assert (refusal.value.param or "").startswith(place)
    assert "#" in refusal.value.message and refusal.value.message.endswith(".")
