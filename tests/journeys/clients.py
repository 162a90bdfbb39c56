"""The clients of the matrix: each sends a request to a model and checks the answer.

Every client raises a server error as Refused with its error code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

HELLO = "Hello, who are you?"
MESSAGES: list[Any] = [{"role": "user", "content": HELLO}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SECONDS = 60.0


class Refused(Exception):
    """The server refused; `code` is its error code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Place:
    """The target: the server, and the models of the matrix's row.

    echoes  the model is a fake, which echoes its input
    """

    url: str
    key: str
    model: str
    embedder: str
    echoes: bool

    def check_text(self, text: str | None) -> None:
        assert text, "the answer is empty"
        assert not self.echoes or text == f"You said: {HELLO}", text

    def check_sight(self, text: str | None) -> None:
        assert text == f"You said: {HELLO} I see image/png.", text


def check_json(text: str | None) -> None:
    value = json.loads(text or "")
    assert set(value) == {"city", "sunny"}, value


def check_call(name: str, arguments: Any) -> None:
    assert name == "weather"
    check_json(arguments if isinstance(arguments, str) else json.dumps(arguments))


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Errors of both companies' clients as Refused."""
    try:
        yield
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        body: Any = error.body
        raise Refused(str(body.get("error", body)["code"])) from error


# OpenAI's client, chat completions

CHAT_IMAGE: list[Any] = [
    {"type": "text", "text": HELLO},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
]
CHAT_TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}
CHAT_SCHEMA: dict[str, Any] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
    }
}
# Enough for a call or an answer of a small model, which does not always stop by itself.
LIMIT = 200


def _openai(place: Place) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{place.url}/v1", api_key=place.key, max_retries=0, timeout=SECONDS)


def _chat(place: Place, **more: Any) -> Any:
    given = {"model": place.model, "messages": MESSAGES, "max_tokens": LIMIT, **more}
    with _openai(place) as client:
        return client.chat.completions.create(**given).choices[0].message


def chat_plain(place: Place) -> None:
    place.check_text(_chat(place).content)


def chat_stream(place: Place) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(
            base_url=f"{place.url}/v1", api_key=place.key, max_retries=0, timeout=SECONDS
        ) as client:
            stream: Any = await client.chat.completions.create(
                model=place.model,
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage.completion_tokens
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    place.check_text(asyncio.run(ask()))


def chat_tools(place: Place) -> None:
    function = _chat(place, **CHAT_TOOLS).tool_calls[0].function
    check_call(function.name, function.arguments)


def chat_schema(place: Place) -> None:
    check_json(_chat(place, **CHAT_SCHEMA).content)


def chat_vision(place: Place) -> None:
    place.check_sight(_chat(place, messages=[{"role": "user", "content": CHAT_IMAGE}]).content)


def chat_embeddings(place: Place) -> None:
    with _openai(place) as client:
        assert client.embeddings.create(model=place.embedder, input=HELLO).data[0].embedding


# OpenAI's client, responses


def _response(place: Place, **more: Any) -> Any:
    given = {"model": place.model, "input": HELLO, "max_output_tokens": LIMIT, **more}
    with _openai(place) as client:
        return client.responses.create(**given)


def responses_plain(place: Place) -> None:
    answer = _response(place)
    place.check_text(answer.output_text)
    assert answer.usage.output_tokens and answer.store is False


def responses_stream(place: Place) -> None:
    async def ask() -> Any:
        async with (
            openai.AsyncOpenAI(base_url=f"{place.url}/v1", api_key=place.key, max_retries=0, timeout=SECONDS) as client,
            client.responses.stream(model=place.model, input=HELLO) as stream,
        ):
            return await stream.get_final_response()

    answer = asyncio.run(ask())
    place.check_text(answer.output_text)
    assert answer.usage.output_tokens


def responses_tools(place: Place) -> None:
    tool = {"type": "function", "strict": True, **FUNCTION}
    item = _response(place, tools=[tool], tool_choice="required", parallel_tool_calls=False).output[-1]
    check_call(item.name, item.arguments)


def responses_schema(place: Place) -> None:
    shape = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
    check_json(_response(place, text={"format": shape}).output_text)


def responses_vision(place: Place) -> None:
    parts = [
        {"type": "input_text", "text": HELLO},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
    ]
    place.check_sight(_response(place, input=[{"role": "user", "content": parts}]).output_text)


# Anthropic's client


def _message(place: Place, **more: Any) -> Any:
    given = {"model": place.model, "messages": MESSAGES, "max_tokens": LIMIT, **more}
    with anthropic.Anthropic(base_url=place.url, api_key=place.key, max_retries=0, timeout=SECONDS) as client:
        return client.messages.create(**given)


def messages_plain(place: Place) -> None:
    answer = _message(place)
    place.check_text(answer.content[0].text)
    assert answer.usage.output_tokens


def messages_stream(place: Place) -> None:
    async def ask() -> Any:
        async with (
            anthropic.AsyncAnthropic(base_url=place.url, api_key=place.key, max_retries=0, timeout=SECONDS) as client,
            client.messages.stream(model=place.model, messages=MESSAGES, max_tokens=LIMIT) as stream,
        ):
            return await stream.get_final_message()

    answer = asyncio.run(ask())
    place.check_text(answer.content[0].text)
    assert answer.usage.output_tokens


def messages_tools(place: Place) -> None:
    tool = {"name": FUNCTION["name"], "input_schema": SCHEMA}
    answer = _message(place, tools=[tool], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert answer.stop_reason == "tool_use"
    check_call(answer.content[-1].name, answer.content[-1].input)


def messages_schema(place: Place) -> None:
    shape = {"format": {"type": "json_schema", "schema": SCHEMA}}
    check_json(_message(place, output_config=shape).content[0].text)


def messages_vision(place: Place) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    blocks = [{"type": "text", "text": HELLO}, {"type": "image", "source": source}]
    answer = _message(place, messages=[{"role": "user", "content": blocks}])
    place.check_sight(answer.content[0].text)


# curl


def _curl(place: Place, path: str, body: dict[str, Any]) -> str:
    command = [
        "curl",
        "--silent",
        "--no-buffer",
        "--max-time",
        str(SECONDS),
        f"{place.url}/v1/{path}",
        "-H",
        f"Authorization: Bearer {place.key}",
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(body),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _curled(place: Place, **more: Any) -> Any:
    body = {"model": place.model, "messages": MESSAGES, "max_tokens": LIMIT, **more}
    return _unless_refused(_curl(place, "chat/completions", body))["choices"][0]["message"]


def _unless_refused(text: str) -> Any:
    value = json.loads(text)
    if "error" in value:
        raise Refused(value["error"]["code"])
    return value


def curl_plain(place: Place) -> None:
    place.check_text(_curled(place)["content"])


def curl_stream(place: Place) -> None:
    body = {"model": place.model, "messages": MESSAGES, "stream": True}
    events = _curl(place, "chat/completions", body).strip().split("\n\n")
    data = [event.removeprefix("data: ") for event in events if event.startswith("data: ")]
    assert data[-1] == "[DONE]"
    deltas = [json.loads(text)["choices"][0]["delta"] for text in data[:-1]]
    place.check_text("".join(delta.get("content") or "" for delta in deltas))


def curl_tools(place: Place) -> None:
    function = _curled(place, **CHAT_TOOLS)["tool_calls"][0]["function"]
    check_call(function["name"], function["arguments"])


def curl_schema(place: Place) -> None:
    check_json(_curled(place, **CHAT_SCHEMA)["content"])


def curl_vision(place: Place) -> None:
    place.check_sight(_curled(place, messages=[{"role": "user", "content": CHAT_IMAGE}])["content"])


def curl_embeddings(place: Place) -> None:
    body = {"model": place.embedder, "input": HELLO}
    answer = _unless_refused(_curl(place, "embeddings", body))
    assert answer["data"][0]["embedding"]


Ask = Callable[[Place], None]

# In the order of the columns; None where the client has no such call.
CLIENTS: dict[str, tuple[Ask | None, ...]] = {
    "`openai`, chat completions": (
        chat_plain,
        chat_stream,
        chat_tools,
        chat_schema,
        chat_vision,
        chat_embeddings,
    ),
    "`openai`, responses": (
        responses_plain,
        responses_stream,
        responses_tools,
        responses_schema,
        responses_vision,
        None,
    ),
    "`anthropic`, messages": (
        messages_plain,
        messages_stream,
        messages_tools,
        messages_schema,
        messages_vision,
        None,
    ),
    "curl": (curl_plain, curl_stream, curl_tools, curl_schema, curl_vision, curl_embeddings),
}
