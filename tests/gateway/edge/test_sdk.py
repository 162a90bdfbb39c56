"""The official OpenAI client against the gateway."""

from __future__ import annotations

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.fakes.upstream import USAGE, WORDS, FakeUpstream
from tests.gateway.wire import CHAT, COLD, EMBEDDER, KEY, Served

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def client(gateway: Served, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{gateway.port}/v1", max_retries=0)


def test_chat(gateway: Served) -> None:
    with client(gateway) as api:
        answer = api.chat.completions.create(model="current", messages=MESSAGES)
    assert answer.choices[0].message.content == "".join(WORDS)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == USAGE["prompt_tokens"]


def test_a_stream(gateway: Served) -> None:
    with client(gateway) as api:
        stream = api.chat.completions.create(model=CHAT, messages=MESSAGES, stream=True)
        assert [chunk.choices[0].delta.content for chunk in stream] == list(WORDS)


def test_completions_and_embeddings(gateway: Served) -> None:
    with client(gateway) as api:
        assert api.completions.create(model=CHAT, prompt="Once").choices[0].text == "".join(WORDS)
        vectors = api.embeddings.create(model=EMBEDDER, input="a", encoding_format="float")
    assert vectors.data[0].embedding == [0.25, 0.5]


def test_models(gateway: Served) -> None:
    with client(gateway) as api:
        assert CHAT in [model.id for model in api.models.list()]
        assert api.models.retrieve(CHAT).id == CHAT


@pytest.mark.parametrize(
    ("key", "model", "error"),
    [
        ("noa_wrong", "current", openai.AuthenticationError),
        (KEY, "nothing", openai.NotFoundError),
        (KEY, EMBEDDER, openai.BadRequestError),
        (KEY, COLD, openai.InternalServerError),
    ],
)
def test_errors_are_the_clients_own_classes(
    gateway: Served, key: str, model: str, error: type[openai.APIStatusError]
) -> None:
    with client(gateway, key) as api, pytest.raises(error) as caught:
        api.chat.completions.create(model=model, messages=MESSAGES)
    assert caught.value.code
    assert caught.value.request_id


def test_a_cut_stream_raises(gateway: Served, upstream: FakeUpstream) -> None:
    upstream.script("cut_stream")
    with client(gateway) as api:
        stream = api.chat.completions.create(model="current", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="runner ended"):
            list(stream)


def test_the_async_client(gateway: Served) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(
            api_key=KEY, base_url=f"http://127.0.0.1:{gateway.port}/v1", max_retries=0
        ) as api:
            stream = await api.chat.completions.create(model="current", messages=MESSAGES, stream=True)
            return [chunk.choices[0].delta.content async for chunk in stream]

    assert asyncio.run(ask()) == list(WORDS)
