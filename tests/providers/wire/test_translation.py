"""Fields that both dialects can express survive the round trip; no hostile input breaks a translation."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.domain.errors import InvalidRequest, NoaError
from models_app.providers.anthropic.translation import ToAnthropic
from models_app.providers.messages.translation import FromMessages
from models_app.providers.responses.translation import FromResponses
from models_app.providers.wire.translation import Translation
from tests.fakes.anthropic_checks import check_messages
from tests.fakes.openai_checks import check_chat
from tests.providers.streams import event, through

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip() == text)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
plain = st.none() | st.booleans() | st.integers(-99, 99) | texts
values = st.dictionaries(names, plain, max_size=3)

# Conversations in OpenAI's dialect that Anthropic's can express


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(texts)})
    turns.append({"role": "user", "content": draw(texts)})
    for number in range(draw(st.integers(0, 3))):
        ids = [f"call_{number}_{index}" for index in range(draw(st.integers(0, 2)))]
        turn: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if ids:
            turn["content"] = draw(st.none() | texts)
            turn["tool_calls"] = [draw(calls(call_id)) for call_id in ids]
        turns.append(turn)
        for call_id in ids:
            turns.append({"role": "tool", "tool_call_id": call_id, "content": draw(texts)})
        turns.append({"role": "user", "content": draw(texts | images())})
    return turns


@st.composite
def calls(draw: st.DrawFn, call_id: str) -> dict[str, Any]:
    arguments = json.dumps(draw(values), separators=(",", ":"), ensure_ascii=False)
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": draw(names), "arguments": arguments},
    }


@st.composite
def images(draw: st.DrawFn) -> list[dict[str, Any]]:
    urls = st.sampled_from(["https://example.org/a.png", "data:image/png;base64,aGk="])
    return [
        {"type": "text", "text": draw(texts)},
        {"type": "image_url", "image_url": {"url": draw(urls)}},
    ]


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    request: dict[str, Any] = {"messages": draw(conversations())}
    request["max_completion_tokens"] = draw(st.integers(1, 9999))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop": st.lists(texts, min_size=1, max_size=4),
        "user": texts,
        "stream": st.just(True),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            request[name] = draw(strategy)
    if draw(st.booleans()):
        function = {
            "name": draw(names),
            "parameters": {"type": "object"},
            "description": draw(texts),
        }
        request["tools"] = [{"type": "function", "function": function}]
        chosen = {"type": "function", "function": {"name": function["name"]}}
        request["tool_choice"] = draw(st.sampled_from(["auto", "none", "required", chosen]))
    return request


@settings(max_examples=60, deadline=None)
@given(requests())
def test_a_request_comes_back_from_anthropics_dialect_as_it_went(request: dict[str, Any]) -> None:
    assert check_chat({"model": "m", **request}) is None
    there = ToAnthropic().request(request, model_id="m")
    assert check_messages(there) is None
    back = FromMessages().request(there, model_id="m")
    assert back == {"model": "m", **request}


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts)})
    for index in range(draw(st.integers(0, 2))):
        content.append({"type": "tool_use", "id": f"t{index}", "name": draw(names), "input": draw(values)})
    has_calls = bool(content) and content[-1]["type"] == "tool_use"
    ends = ["end_turn", "max_tokens", "refusal"]
    counts = (
        "input_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "output_tokens",
    )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if has_calls else draw(st.sampled_from(ends)),
        "stop_sequence": None,
        "usage": {name: draw(st.integers(0, 10**6)) for name in counts},
    }


@settings(max_examples=60, deadline=None)
@given(answers())
def test_an_answer_comes_back_from_openais_dialect_as_it_went(answer: dict[str, Any]) -> None:
    there, usage = ToAnthropic().answer(answer, model="m")
    back, again = FromMessages().answer(there, model="m")
    assert back == answer
    assert (again.prompt, again.completion, again.cached, again.cache_write) == (
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.cache_write,
    )


# Hostile input

words = st.sampled_from(
    """
    model messages role content type text user assistant system tool tools function name parameters input_schema
    tool_choice tool_calls id arguments tool_use tool_result tool_use_id image image_url url source base64 media_type
    data max_tokens response_format json_schema schema strict output_config format thinking budget_tokens stop input
    input_text function_call function_call_output call_id output choices message delta index finish_reason usage
    """.split()  # noqa: SIM905
)
anything: st.SearchStrategy[Any] = st.recursive(
    plain | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | names, inner, max_size=4),
    max_leaves=8,
)
bodies = st.dictionaries(words, anything, max_size=6)
every_translation = pytest.mark.parametrize("make", [ToAnthropic, FromMessages, FromResponses])


@every_translation
@settings(max_examples=25, deadline=None)
@given(body=bodies, message=anything)
def test_no_body_does_more_than_be_refused(make: type[Translation], body: Any, message: Any) -> None:
    for given_body in (body, {**body, "messages": [message], "input": [message], "max_tokens": 9}):
        try:
            make().request(given_body, model_id="m")
        except InvalidRequest as error:
            assert error.message


@every_translation
@settings(max_examples=25, deadline=None)
@given(body=bodies, inner=anything)
def test_no_answer_does_more_than_be_refused(make: type[Translation], body: Any, inner: Any) -> None:
    for given_body in (
        body,
        {"choices": [{"message": inner}]},
        {"content": [inner], "usage": inner},
    ):
        try:
            make().answer(given_body, model="m")
        except NoaError as error:
            assert error.code == "malformed_answer"


@every_translation
@settings(max_examples=25, deadline=None)
@given(parts=st.lists(bodies | st.binary(max_size=40), max_size=8))
def test_no_stream_breaks_it(make: type[Translation], parts: list[Any]) -> None:
    kinds = ("message_start", "content_block_start", "content_block_delta", "message_delta")
    data = b""
    for number, part in enumerate(parts):
        if isinstance(part, bytes):
            data += part
        else:
            data += event({**part, "type": kinds[number % 4]}) + event({"choices": [{"delta": part}]})
    through(make().stream(model="m"), data[:50], data[50:])


def test_deep_calls_and_answers_can_be_written() -> None:
    """A translation must not return a value that is nested too deeply for the JSON writer."""
    text = '{"a":' * 1000 + "1" + "}" * 1000
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
    assert orjson.dumps(ToAnthropic().request({"messages": turns}, model_id="m"))
    chat = {"id": "1", "choices": [{"message": {"tool_calls": [call], "content": "x"}}]}
    assert orjson.dumps(FromMessages().answer(chat, model="m")[0])
    assert orjson.dumps(FromResponses().answer(chat, model="m")[0])
    # Python's own writer gives up earlier.
    thought = f'{{"type":"thinking","thinking":{text},"signature":"s","more":{text}}}'
    use = f'{{"type":"tool_use","id":"t","name":"f","input":{text}}}'
    whole = orjson.loads(f'{{"content":[{thought},{use}],"usage":{text},"id":{text}}}')
    assert orjson.dumps(ToAnthropic().answer(whole, model="m")[0])
    stream = ToAnthropic().stream(model="m")
    for block in (thought, use):
        start = f'data: {{"type":"content_block_start","index":0,"content_block":{block}}}\n\n'
        assert stream.feed(start.encode() + event({"type": "content_block_stop", "index": 0}))


def test_deep_and_huge_input_is_no_danger() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    huge = [{"role": "user", "content": "x"}] * 10_001
    for translation in (ToAnthropic(), FromMessages()):
        for given_messages in ([{"role": "user", "content": deep}], huge):
            with pytest.raises(InvalidRequest):
                translation.request({"messages": given_messages, "max_tokens": 9}, model_id="m")
