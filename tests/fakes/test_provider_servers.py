"""The fakes answer the official clients as the real ones do, and misbehave as scripted."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_faults import BEHAVIOURS

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def gpt(fake_openai: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=fake_openai.key, base_url=fake_openai.base_url, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def claude(fake_anthropic: FakeAnthropic) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key=fake_anthropic.key, base_url=fake_anthropic.base_url, max_retries=0, timeout=5
    ) as client:
        yield client


def test_openai_models(gpt: openai.OpenAI) -> None:
    assert "gpt-4o" in [model.id for model in gpt.models.list()]
    assert gpt.models.retrieve("gpt-4o").owned_by == "system"
    with pytest.raises(openai.NotFoundError):
        gpt.models.retrieve("gpt-0")


def test_openai_chat_tools_schema_images_embeddings(gpt: openai.OpenAI) -> None:
    chat: Any = gpt.chat.completions.create
    assert chat(model="gpt-4o", messages=HELLO).choices[0].message.content == "You said: Hello there"
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    answer = chat(model="gpt-4o", messages=HELLO, tools=[tool], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "text"})
    shape = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    answer = chat(model="gpt-4o", messages=HELLO, response_format=shape)
    assert json.loads(answer.choices[0].message.content) == {"city": "text"}
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    answer = chat(model="gpt-4o", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "You said: Look I see image/png."
    assert len(gpt.embeddings.create(model="gpt-4o", input=["a", "b"]).data[0].embedding) == 8


def test_an_openai_stream_has_usage_only_when_asked(gpt: openai.OpenAI) -> None:
    def chunks(**more: Any) -> list[ChatCompletionChunk]:
        return list(gpt.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **more))

    assert all(chunk.usage is None for chunk in chunks())
    asked = chunks(stream_options={"include_usage": True})
    assert [chunk.usage for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    assert asked[-1].choices == []
    assert asked[-1].usage is not None


def test_openai_refuses_as_openai_does(gpt: openai.OpenAI, fake_openai: FakeOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'top_k'"):
        gpt.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body={"top_k": 1})
    with pytest.raises(openai.AuthenticationError):
        gpt.with_options(api_key="sk-wrong").models.list()
    assert [request.path for request in fake_openai.requests][-1] == "/v1/models"


def test_anthropic_models_come_in_pages(claude: anthropic.Anthropic, fake_anthropic: FakeAnthropic) -> None:
    assert len([model.id for model in claude.models.list()]) == 3
    assert len(fake_anthropic.requests) == 2
    assert claude.models.retrieve("claude-haiku-4-5-20251001").max_input_tokens == 200_000


def test_anthropic_messages_thinking_tools_schema(claude: anthropic.Anthropic) -> None:
    def ask(**more: Any) -> anthropic.types.Message:
        fields: dict[str, Any] = {"model": "claude-haiku-4-5-20251001", "max_tokens": 2048, "messages": HELLO}
        message: anthropic.types.Message = claude.messages.create(**fields | more)
        return message

    assert ask().content[0].text == "You said: Hello there"  # type: ignore[union-attr]
    thoughtful = ask(thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in thoughtful.content] == ["thinking", "text"]
    tool = {"name": "weather", "input_schema": SCHEMA}
    called = ask(tools=[tool], tool_choice={"type": "any"})
    assert called.stop_reason == "tool_use"
    assert called.content[0].input == {"city": "text"}  # type: ignore[union-attr]
    shape = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert ask(output_config=shape).content[0].text == '{"city": "text"}'  # type: ignore[union-attr]
    assert claude.messages.count_tokens(model="claude-haiku-4-5-20251001", messages=HELLO)


def test_an_anthropic_stream_is_the_whole_message(claude: anthropic.Anthropic) -> None:
    options: Any = {
        "model": "claude-haiku-4-5-20251001",
        "max_tokens": 2048,
        "messages": HELLO,
        "tools": [{"name": "Hello", "input_schema": SCHEMA}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    with claude.messages.stream(**options) as stream:
        streamed = stream.get_final_message()
    whole = claude.messages.create(**options)
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert [block.to_dict() | {"parsed_output": None} for block in streamed.content] == [
        block.to_dict() | {"parsed_output": None} for block in whole.content
    ]
    assert streamed.usage.output_tokens == whole.usage.output_tokens


def test_a_marked_prompt_is_cached(claude: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "Be kind always", "cache_control": {"type": "ephemeral"}}]
    usages = [
        claude.messages.create(model="claude-haiku-4-5-20251001", max_tokens=9, system=system, messages=HELLO).usage
        for _ in range(2)
    ]
    counts = [(u.cache_creation_input_tokens, u.cache_read_input_tokens) for u in usages]
    assert counts == [(3, 0), (0, 3)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("word", sorted(BEHAVIOURS))
def test_every_behaviour_ends_and_the_next_request_is_good(
    fake_openai: FakeOpenAI, fake_anthropic: FakeAnthropic, word: str, stream: bool
) -> None:
    for fake, path in (
        (fake_openai, "/v1/chat/completions"),
        (fake_anthropic, "/v1/messages"),
    ):
        fake.script(word, path=path)
        if word == "paced":
            fake.go.set()
        assert _bytes(fake, path, stream, hangs=word.startswith("hang")) is not None
        assert _bytes(fake, path, stream, hangs=False).startswith(b"HTTP/1.1 200")
        assert [request.behaviour for request in fake.requests] == [word, "ok"]
        if word.startswith("hang"):
            assert fake.requests[0].left.wait(5), "the fake did not see that its client left"


def _bytes(fake: FakeOpenAI | FakeAnthropic, path: str, stream: bool, *, hangs: bool) -> bytes:
    """All bytes received on a new connection; of a fake that hangs, those until the timeout."""
    body: dict[str, Any] = {"model": fake.models[0]["id"], "messages": HELLO, "stream": stream}
    body["max_tokens"] = 64
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(raw)}\r\n"
    head += f"Authorization: Bearer {fake.key}\r\nx-api-key: {fake.key}\r\n"
    head += "anthropic-version: 2023-06-01\r\nContent-Type: application/json\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fake.port), 5) as wire:
        wire.sendall(head.encode() + raw)
        if hangs:
            fake.wait_for_request()
            return b""
        parts = []
        while data := wire.recv(1 << 20):
            parts.append(data)
    return b"".join(parts)


def test_it_is_a_program_that_takes_its_script_over_the_wire() -> None:
    command = [sys.executable, "-m", "tests.fakes.openai_server", "--script", "status_500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        address = base_url.removesuffix("/v1")
        order = json.dumps({"script": ["redirect"], "default": "bad_key"}).encode()
        with urlopen(Request(f"{address}/_script", data=order)) as answer:
            assert answer.status == 204
        with urlopen(f"{address}/_requests") as answer:
            assert json.load(answer) == []
        process.terminate()
