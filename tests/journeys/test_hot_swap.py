"""Hot swap under traffic: no request fails."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.journeys.rows import count_access_rows
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

SWAPS = 20
CLIENTS = 8
KEYS = ("llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide")
QUESTIONS = ("Who are you?", "Hello!", "What is NOA?", "Tell me a haiku.")


class Traffic:
    """Eight clients that send requests without a pause: sync, streaming, async and async streaming."""

    def __init__(self, server: NoaServer) -> None:
        self.options: dict[str, Any] = {
            "base_url": f"{server.url}/v1",
            "api_key": server.api_key,
            "max_retries": 0,
            "timeout": 60,
        }
        self.stop = threading.Event()
        self.answers: list[tuple[float, float, str, str, str | None]] = []
        self.failures: list[str] = []

    def record(self, sent_at: float, texts: list[str], models: set[tuple[str, str | None]], reason: str | None) -> None:
        if len(models) != 1:
            self.failures.append(f"one answer from {models}")
        self.answers.append((sent_at, monotonic(), "".join(texts), models.pop()[0], reason))

    def sync_client(self, number: int) -> None:
        client = openai.OpenAI(**self.options)
        turn = number
        while not self.stop.is_set():
            turn += 1
            question: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTIONS[turn % len(QUESTIONS)]}]
            sent_at = monotonic()
            try:
                if number % 2:
                    self._stream(client, question, sent_at)
                else:
                    answer = client.chat.completions.create(model="current", temperature=0, messages=question)
                    choice = answer.choices[0]
                    self.record(
                        sent_at,
                        [choice.message.content or ""],
                        {(answer.model, answer.system_fingerprint)},
                        choice.finish_reason,
                    )
            except openai.OpenAIError as error:
                self.failures.append(repr(error))

    def _stream(self, client: openai.OpenAI, question: list[ChatCompletionMessageParam], sent_at: float) -> None:
        texts: list[str] = []
        models: set[tuple[str, str | None]] = set()
        reason = None
        for chunk in client.chat.completions.create(model="current", temperature=0, messages=question, stream=True):
            models.add((chunk.model, chunk.system_fingerprint))
            texts.append(chunk.choices[0].delta.content or "")
            reason = chunk.choices[0].finish_reason or reason
        self.record(sent_at, texts, models, reason)

    async def async_client(self, number: int) -> None:
        async with openai.AsyncOpenAI(**self.options) as client:
            while not self.stop.is_set():
                question: list[ChatCompletionMessageParam] = [
                    {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
                ]
                sent_at = monotonic()
                try:
                    texts: list[str] = []
                    models: set[tuple[str, str | None]] = set()
                    reason = None
                    async for chunk in await client.chat.completions.create(
                        model="current", temperature=0, messages=question, stream=True
                    ):
                        models.add((chunk.model, chunk.system_fingerprint))
                        texts.append(chunk.choices[0].delta.content or "")
                        reason = chunk.choices[0].finish_reason or reason
                    self.record(sent_at, texts, models, reason)
                except openai.OpenAIError as error:
                    self.failures.append(repr(error))

    def async_clients(self) -> None:
        async def both() -> None:
            await asyncio.gather(self.async_client(0), self.async_client(1))

        asyncio.run(both())


def test_twenty_swaps_under_eight_clients_fail_no_request(server: NoaServer) -> None:
    status, current = server.api("GET", "/api/v1/models/current")
    assert status == 200
    before = current["model"]["key"]
    traffic = Traffic(server)
    swaps: list[tuple[float, str]] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(traffic.sync_client, number) for number in range(CLIENTS - 2)]
        clients.append(pool.submit(traffic.async_clients))
        try:
            for _ in range(SWAPS):
                after = KEYS[1 - KEYS.index(before)]
                status, job = server.api("POST", "/api/v1/models/switch?wait=60", {"key": after})
                assert (status, job["state"]) == (200, "succeeded"), job
                swaps.append((monotonic(), after))
                before = after
                answered = len(traffic.answers)
                deadline = monotonic() + 30
                # Traffic must have met the new model before the next swap.
                while len(traffic.answers) < answered + CLIENTS and monotonic() < deadline:
                    traffic.stop.wait(0.02)
        finally:
            traffic.stop.set()
        for client in clients:
            client.result()
    assert traffic.failures == []
    assert len(traffic.answers) >= SWAPS * CLIENTS
    for sent_at, _, text, model, reason in traffic.answers:
        assert reason in ("stop", "length"), (text, reason)
        assert speaker(text) == model, text
        since = [key for moved, key in swaps if moved < sent_at]
        if since:
            # A later swap can have been in progress: then either is right.
            following = KEYS[1 - KEYS.index(since[-1])]
            unsettled = len(since) < len(swaps)
            assert model == since[-1] or (unsettled and model == following), (text, model)


def speaker(text: str) -> str:
    """Which of the demo models wrote this, by its words alone: each names itself first."""
    places = {key: text.lower().find(key.rpartition("-")[2]) for key in KEYS}
    named = [key for key in KEYS if places[key] >= 0]
    assert named, f"nobody spoke: {text!r}"
    return min(named, key=lambda key: places[key])


def test_the_access_log_has_one_row_for_each_request(server: NoaServer) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0)
    for _ in range(5):
        client.chat.completions.create(
            model="current",
            messages=[{"role": "user", "content": "Hello!"}],
            extra_headers={"X-Request-ID": "counted"},
        )
    assert count_access_rows(server, "counted", at_least=5) == 5
