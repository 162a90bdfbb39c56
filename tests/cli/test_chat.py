"""noa chat."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Noa
from tests.cli.fake_noa import FakeNoa, chunk, error, model

PATH = "/v1/chat/completions"


@pytest.fixture
def talking(fake: FakeNoa) -> FakeNoa:
    fake.models = [model("llama.cpp:tide")]
    fake.stream = [chunk("Hello"), chunk(" there."), "[DONE]"]
    return fake


def test_model_and_prompt_are_asked_as_a_stream(talking: FakeNoa, noa: Noa) -> None:
    ended = noa("chat", "tide", "Who are you?", "--system", "Be short.", "--max-tokens", "9")
    assert (ended.code, ended.out, ended.err) == (0, "Hello there.\n", "")
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who are you?"},
    ]
    asked = {"model": "tide", "max_tokens": 9, "messages": messages, "stream": True}
    assert talking.bodies(PATH) == [asked]


@pytest.mark.parametrize(
    ("arguments", "stdin", "name", "prompt"),
    [
        (("Hello",), "", "current", "Hello"),
        ((), "Hello\n", "current", "Hello\n"),
        (("tide",), "Hello", "tide", "Hello"),
        (("llama.cpp:tide",), "Hello", "llama.cpp:tide", "Hello"),
        (("current",), "Hello", "current", "Hello"),
    ],
)
def test_one_argument_is_a_model_only_if_one_has_that_name(
    talking: FakeNoa, noa: Noa, arguments: tuple[str, ...], stdin: str, name: str, prompt: str
) -> None:
    assert noa("chat", *arguments, stdin=stdin).code == 0
    asked = talking.bodies(PATH)[0]
    assert (asked["model"], asked["messages"][0]["content"]) == (name, prompt)


def test_an_error_in_the_middle_of_a_stream_ends_with_1_after_what_came(talking: FakeNoa, noa: Noa) -> None:
    talking.stream = [chunk("Hel"), json.dumps(error("runner_died", "The runner died."))]
    ended = noa("chat", "current", "Hello")
    assert (ended.code, ended.out, ended.err) == (1, "Hel\n", "noa: The runner died.\n")


def test_a_stream_without_its_end_is_said_to_be_cut(talking: FakeNoa, noa: Noa) -> None:
    talking.stream = [chunk("Hel")]
    ended = noa("chat", "current", "Hello")
    assert (ended.code, ended.err) == (1, "noa: The answer was cut off before its end.\n")


def test_a_model_that_is_not_loaded_is_the_servers_sentence(talking: FakeNoa, noa: Noa) -> None:
    talking.answers[PATH] = (503, error("model_not_loaded", "It is not loaded."))
    ended = noa("chat", "current", "Hello")
    assert (ended.code, ended.out, ended.err) == (1, "", "noa: It is not loaded.\n")


def test_json_is_the_whole_answer_of_the_gateway(talking: FakeNoa, noa: Noa) -> None:
    talking.answers[PATH] = (200, {"choices": [], "usage": {"total_tokens": 3}})
    ended = noa("chat", "current", "Hello", "--json")
    assert json.loads(ended.out)["usage"] == {"total_tokens": 3}
    assert "stream" not in talking.bodies(PATH)[0]
