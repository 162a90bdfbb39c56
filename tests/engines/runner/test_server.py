"""The real program's endpoints: answers and refusals."""

from __future__ import annotations

import base64
import json
import math
import os
import struct
from typing import Any

import openai
import pytest

from models_app.engines.runner.http import MAX_BODY
from tests.engines.runner.program import Program

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
HI: list[Any] = [{"role": "user", "content": "Hi"}]
STORY = "Once there was a small model that told stories."


def events(runner: Program, path: str, **fields: Any) -> list[str]:
    """The lines of a streamed answer that are not empty."""
    with runner.start(path, stream=True, **fields) as client:
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            got = client.recv(65_536)
            assert got, data
            data += got
    lines = data.decode().partition("\r\n\r\n")[2].split("\n")
    return [line for line in lines if line.startswith((":", "data"))]


def chunks(lines: list[str]) -> list[Any]:
    bodies = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(body) for body in bodies if body != "[DONE]"]


def test_health_tells_the_whole_contract(runner: Program) -> None:
    health = runner.health()
    assert health["state"] == "ready"
    assert (health["in_flight"], health["queued"]) == (0, 0)
    assert health["pid"] == runner.process.pid
    assert health["slots"] == {"total": 4, "busy": 0}
    assert {"rss_bytes", "model_bytes", "kv_bytes"} <= health["memory"].keys()
    assert {"requests", "cancelled", "prompt_tokens", "completion_tokens"} <= health["counters"].keys()
    assert health["memory"]["rss_bytes"] > health["memory"]["model_bytes"] > 1_000_000


def test_it_lists_its_model(runner: Program) -> None:
    status, answer = runner.ask("GET", "/v1/models")
    assert status == 200
    assert [model["id"] for model in answer["data"]] == ["llama.cpp:tiny"]


def test_a_chat_answer_has_openais_form(runner: Program) -> None:
    status, answer = runner.chat(temperature=0, max_tokens=9)
    assert status == 200
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": STORY, "refusal": None}
    assert choice["finish_reason"] == "length"
    assert answer["model"] == "llama.cpp:tiny"
    assert answer["system_fingerprint"] == "fp-1"
    assert answer["object"] == "chat.completion"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 9
    assert usage["total_tokens"] == usage["prompt_tokens"] + 9
    assert "cached_tokens" in usage["prompt_tokens_details"]


def test_the_sdk_reads_answers_and_streams(runner: Program) -> None:
    with runner.sdk() as client:
        whole = client.chat.completions.create(model="m", messages=HI, temperature=0, n=2)
        assert [choice.finish_reason for choice in whole.choices] == ["stop", "stop"]
        text = whole.choices[0].message.content
        assert text is not None
        assert text.startswith(STORY)
        assert "café" in text
        stream = client.chat.completions.create(
            model="m",
            messages=HI,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        received = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in received if c.choices) == text
    assert received[0].choices[0].delta.role == "assistant"
    assert received[-2].choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert received[-1].usage is not None
    # The prompt of n choices counts once, their answers each.
    assert whole.usage.completion_tokens == 2 * received[-1].usage.completion_tokens
    assert whole.usage.prompt_tokens == received[-1].usage.prompt_tokens


def test_the_sdk_gets_errors_it_knows(runner: Program) -> None:
    with runner.sdk() as client, pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="m", messages=HI, max_tokens=0)
    assert refusal.value.param == "max_tokens"


def test_every_stream_tells_its_usage_in_a_comment(runner: Program) -> None:
    lines = events(runner, CHAT, messages=HI, max_tokens=3, temperature=0)
    assert lines[-1] == "data: [DONE]"
    assert lines[-2].startswith(": noa ")
    usage = json.loads(lines[-2].removeprefix(": noa "))["usage"]
    assert usage["completion_tokens"] == 3
    assert all("usage" not in chunk for chunk in chunks(lines))


def test_a_stream_of_several_choices_keeps_them_apart(runner: Program) -> None:
    received = chunks(events(runner, CHAT, messages=HI, max_tokens=9, temperature=0, n=3))
    for index in range(3):
        parts = [c["choices"][0] for c in received if c["choices"][0]["index"] == index]
        assert "".join(part["delta"].get("content", "") for part in parts) == STORY
        assert parts[-1]["finish_reason"] == "length"


def test_chat_logprobs_come_with_their_tokens(runner: Program) -> None:
    fields: Any = {"messages": HI, "max_tokens": 3, "temperature": 0, "logprobs": True}
    content = runner.chat(**fields, top_logprobs=2)[1]["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == "Once there was"
    assert all(len(token["top_logprobs"]) == 2 for token in content)
    assert all(bytes(token["bytes"]).decode() == token["token"] for token in content)
    assert content[0]["top_logprobs"][0]["token"] == "Once"
    streamed = chunks(events(runner, CHAT, **fields))
    tokens = [c["choices"][0]["logprobs"]["content"] for c in streamed if c["choices"][0]["logprobs"]]
    assert "".join(token["token"] for tokens_ in tokens for token in tokens_) == "Once there was"


def test_completion_logprobs_tell_where_tokens_begin(runner: Program) -> None:
    fields: Any = {"prompt": "Hi", "max_tokens": 4, "temperature": 0, "logprobs": 2}
    choice = runner.post(COMPLETIONS, **fields)[1]["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["text_offset"] == [0, 4, 10, 14]
    assert all(value <= 0 for value in logprobs["token_logprobs"])
    streamed = chunks(events(runner, COMPLETIONS, **fields))
    offsets = [c["choices"][0]["logprobs"]["text_offset"] for c in streamed[:-1]]
    assert [offset for part in offsets for offset in part] == [0, 4, 10, 14]


def test_completions_take_every_form_of_prompt(runner: Program) -> None:
    for prompt, count in (("Hi", 1), (["Hi", "Ho"], 2), ([5, 6, 7], 1), ([[5, 6], [7]], 2)):
        status, answer = runner.post(COMPLETIONS, prompt=prompt, max_tokens=2, n=2)
        assert status == 200
        assert [choice["index"] for choice in answer["choices"]] == list(range(2 * count))
        assert answer["object"] == "text_completion"


def test_a_stop_string_ends_the_answer_and_is_not_in_it(runner: Program) -> None:
    _, answer = runner.chat(temperature=0, stop=["small", "never"])
    choice = answer["choices"][0]
    assert choice["message"]["content"] == "Once there was a "
    assert choice["finish_reason"] == "stop"


def test_the_same_seed_gives_the_same_answer_and_n_gives_others(runner: Program) -> None:
    def texts(seed: int) -> list[str]:
        answer = runner.chat(seed=seed, temperature=2, max_tokens=40, n=4)[1]
        return [choice["message"]["content"] for choice in answer["choices"]]

    assert texts(-5) == texts(-5)
    assert len(set(texts(2**63 - 1))) > 1


def test_embeddings_are_normalised_and_similar_texts_are_close(runner: Program) -> None:
    status, answer = runner.post(EMBEDDINGS, input=["The cat sat", "The cat sits", "zzzz"])
    assert status == 200
    first, second, third = (item["embedding"] for item in answer["data"])
    assert math.isclose(sum(x * x for x in first), 1.0, rel_tol=1e-3)

    def closeness(left: list[float], right: list[float]) -> float:
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert closeness(first, second) > closeness(first, third)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_base64_embeddings_are_the_same_numbers(runner: Program) -> None:
    floats = runner.post(EMBEDDINGS, input="cat")[1]["data"][0]["embedding"]
    encoded = runner.post(EMBEDDINGS, input="cat", encoding_format="base64")[1]["data"][0]
    packed = base64.b64decode(encoded["embedding"])
    assert list(struct.unpack(f"<{len(floats)}f", packed)) == pytest.approx(floats)


def test_more_embeddings_than_slots_come_in_order(runner: Program) -> None:
    inputs = [f"text {'ab'[n % 2]}" for n in range(50)]
    answer = runner.post(EMBEDDINGS, input=inputs)[1]
    assert [item["index"] for item in answer["data"]] == list(range(50))
    assert answer["data"][0]["embedding"] == pytest.approx(answer["data"][2]["embedding"], abs=1e-3)


def test_dimensions_must_be_the_models_own(runner: Program) -> None:
    size = len(runner.post(EMBEDDINGS, input="cat")[1]["data"][0]["embedding"])
    assert runner.post(EMBEDDINGS, input="cat", dimensions=size)[0] == 200
    assert runner.refusal(EMBEDDINGS, input="cat", dimensions=size - 1)[1] == "dimensions"


def test_an_input_that_does_not_fit_is_refused_and_not_cut(runner: Program) -> None:
    assert runner.refusal(EMBEDDINGS, input="x" * 5000) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("path", "fields", "code", "param"),
    [
        (CHAT, {"messages": HI, "max_tokens": 5000}, "context_length_exceeded", "messages"),
        (COMPLETIONS, {"prompt": "x" * 3000}, "context_length_exceeded", "prompt"),
        (COMPLETIONS, {"prompt": "x " * 4_000_000}, "context_length_exceeded", "prompt"),
        (COMPLETIONS, {"prompt": [1] * 3000}, "context_length_exceeded", "prompt"),
        (COMPLETIONS, {"prompt": [10**9]}, "token_out_of_range", "prompt"),
        (CHAT, {"messages": HI, "logit_bias": {"99999": 1}}, "token_out_of_range", "logit_bias"),
        (CHAT, {"messages": HI, "grammar": "root := x"}, "unsupported_parameter", "grammar"),
        (CHAT, {"messages": HI, "chat_template": "{{ 1 }}"}, "unsupported_parameter", "chat_template"),
    ],
)
def test_it_refuses_what_this_model_cannot_do(
    runner: Program, path: str, fields: dict[str, Any], code: str, param: str
) -> None:
    assert runner.refusal(path, **fields) == (code, param)
    assert runner.chat(max_tokens=1)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/chat", 404, "not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("PUT", "/v1/models", 405, "method_not_allowed"),
        ("POST", CHAT, 400, "invalid_json"),
        ("POST", "/drain?wait=-1", 400, "invalid_request"),
        ("POST", "/drain?wait=nan", 400, "invalid_request"),
        ("POST", "/drain?wait=soon", 400, "invalid_request"),
    ],
)
def test_wrong_requests_get_json_errors(runner: Program, method: str, path: str, status: int, code: str) -> None:
    answered, answer = runner.ask(method, path)
    assert (answered, answer["error"]["code"]) == (status, code)


def test_a_body_above_16_mib_is_refused(runner: Program) -> None:
    status, answer = runner.ask("POST", CHAT, b" " * (MAX_BODY + 1))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


def test_only_its_user_may_connect(runner: Program) -> None:
    assert os.stat(runner.spec.socket).st_mode & 0o777 == 0o600
