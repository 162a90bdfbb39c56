"""What clients of other servers and dialects need from a runner, with real llama.cpp."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.engines.runner.program import Program
from tests.engines.runner.test_server import CHAT, COMPLETIONS, HI, chunks, events

pytestmark = pytest.mark.llama

CONTEXT = 2048
WORDS = re.compile(rf"maximum context length is {CONTEXT} tokens\. However, .*?([\d,]+) tokens")


def test_a_limit_beyond_the_context_ends_there_when_the_gateway_clips(runner: Program) -> None:
    """Anthropic's clients send the limit of a large model with each request."""
    fields: dict[str, Any] = {"messages": HI, "max_tokens": 32_000, "ignore_eos": True}
    status, answer = runner.post(f"{CHAT}?clip=1", **fields)
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT
    assert runner.refusal(CHAT, **fields) == ("context_length_exceeded", "messages")


def test_a_prompt_that_is_too_long_is_refused_also_when_clipped(runner: Program) -> None:
    for clip in ("", "?clip=1"):
        assert runner.refusal(f"{CHAT}{clip}", messages=[{"role": "user", "content": "x" * 3000}]) == (
            "context_length_exceeded",
            "messages",
        )


@pytest.mark.parametrize(
    ("path", "fields", "least"),
    [
        (CHAT, {"messages": HI, "max_tokens": 5000}, 5000),
        (CHAT, {"messages": HI, "max_tokens": 5000, "stream": True}, 5000),
        (COMPLETIONS, {"prompt": [1] * 3000}, 3000),
        (COMPLETIONS, {"prompt": "x" * 2100}, CONTEXT),
        (COMPLETIONS, {"prompt": "word " * 30_000}, CONTEXT),
        (COMPLETIONS, {"prompt": "x " * 4_000_000}, CONTEXT),
    ],
)
def test_an_overflow_has_the_words_by_which_clients_know_it(
    runner: Program, path: str, fields: dict[str, Any], least: int
) -> None:
    status, answer = runner.post(path, **fields)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    found = WORDS.search(answer["error"]["message"])
    assert found, answer
    assert int(found[1].replace(",", "")) > least - 1


def test_the_tokens_of_a_chat_are_counted_as_its_request_is(runner: Program) -> None:
    for messages in (HI, [{"role": "system", "content": "Be short."}, *HI, {"role": "assistant", "content": "Yes."}]):
        _, counted = runner.post("/v1/chat/tokens", messages=messages)
        _, answer = runner.post(CHAT, messages=messages, max_tokens=1)
        assert counted == {"input_tokens": answer["usage"]["prompt_tokens"]}
    assert runner.post("/v1/chat/tokens", messages=[])[0] == 400


def test_a_chat_that_does_not_fit_is_counted_and_one_without_measure_refused(runner: Program) -> None:
    def count(words: int) -> tuple[int, dict[str, Any]]:
        return runner.post("/v1/chat/tokens", messages=[{"role": "user", "content": "word " * words}])

    (few, short), (many, long) = count(10), count(6_000)
    assert (few, many) == (200, 200) and long["input_tokens"] > 300 * short["input_tokens"]
    status, refused = count(60_000)
    assert (status, refused["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(("stop", "content"), [(["never", "small"], "Once there was a "), (["there", "was"], "Once ")])
def test_the_stop_string_that_ended_an_answer_is_named(runner: Program, stop: list[str], content: str) -> None:
    fields = {"messages": HI, "temperature": 0, "stop": stop}
    (choice,) = runner.post(CHAT, **fields)[1]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, "stop")
    ended = "small" if "small" in stop else "there"
    assert choice["stop_reason"] == ended
    assert chunks(events(runner, CHAT, **fields))[-1]["choices"][0]["stop_reason"] == ended
    story = runner.post(COMPLETIONS, prompt="Hi", temperature=0)[1]["choices"][0]["text"]
    end = story.split()[2]
    completed = runner.post(COMPLETIONS, prompt="Hi", temperature=0, stop=[end])[1]["choices"][0]
    assert (completed["text"], completed["stop_reason"]) == (story[: story.index(end)], end)
    assert "stop_reason" not in runner.chat(temperature=0)[1]["choices"][0]


def test_the_first_chunk_states_the_prompt_when_usage_is_continuous(runner: Program) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    first, *_, last = chunks(events(runner, CHAT, messages=HI, max_tokens=4, stream_options=options))
    assert first["usage"]["prompt_tokens"] == last["usage"]["prompt_tokens"] > 0
    assert first["usage"]["completion_tokens"] == 0
    plain, *_ = chunks(events(runner, CHAT, messages=HI, max_tokens=4, stream_options={"include_usage": True}))
    assert plain["usage"] is None


@pytest.mark.parametrize("prompt", ["Hi there", ["Hi", "Ho"]])
def test_a_completion_can_begin_with_its_prompt(runner: Program, prompt: Any) -> None:
    prompts = prompt if isinstance(prompt, list) else [prompt]
    fields = {"prompt": prompt, "max_tokens": 3, "temperature": 0}
    plain = [choice["text"] for choice in runner.post(COMPLETIONS, **fields)[1]["choices"]]
    wanted = [given + text for given, text in zip(prompts, plain, strict=True)]
    echoed = runner.post(COMPLETIONS, echo=True, **fields)[1]["choices"]
    assert [choice["text"] for choice in echoed] == wanted
    texts = dict.fromkeys(range(len(prompts)), "")
    for chunk in chunks(events(runner, COMPLETIONS, echo=True, **fields)):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == wanted
    assert runner.refusal(COMPLETIONS, echo=True, logprobs=1, **fields)[1] == "echo"


def test_the_chosen_token_is_among_the_most_probable_ones(runner: Program) -> None:
    for logprobs in (0, 2):
        choice = runner.post(COMPLETIONS, prompt="Hi", max_tokens=6, temperature=2, seed=3, logprobs=logprobs)[1]
        found = choice["choices"][0]["logprobs"]
        for token, logprob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
            assert top[token] == logprob
            assert len(top) <= logprobs + 1


@pytest.mark.parametrize("count", [5, 14, 32])
def test_as_many_stops_as_an_editor_sends_are_taken(runner: Program, count: int) -> None:
    stops = [f"<stop {number}>" for number in range(count - 1)] + ["small"]
    assert runner.chat(temperature=0, stop=stops)[1]["choices"][0]["message"]["content"] == "Once there was a "


@pytest.mark.parametrize("arguments", ['{"x": "a', "{", "", '"text"', "[1]", "null"])
def test_a_malformed_call_in_the_history_does_not_end_the_conversation(runner: Program, arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "3"}]},
        {"role": "user", "content": "And now?"},
    ]
    assert runner.post(CHAT, messages=turns, max_tokens=2)[0] == 200


def test_a_schema_in_another_place_is_obeyed(runner: Program) -> None:
    schema = {"const": {"a": 1}}
    for place in (
        {"json_schema": schema},
        {"format": schema},
        {"guided_json": schema},
        {"structured_outputs": {"json": schema}},
        {"response_format": {"type": "json_object", "schema": schema}},
    ):
        _, answer = runner.post(CHAT, messages=HI, **place)
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"a": 1}, place
