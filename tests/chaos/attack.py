"""Attackers beside good traffic of another key: streams of two clients, and four connections of hostile requests."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.percentiles import percentile
from tests.engines.runner.grammar import hostile
from tests.gateway.chat_forms import forms
from tests.journeys.server import NoaServer

ATTACKERS = 4
CLIENTS = 2
# Longer than a runner that hangs needs to be replaced: a client waits for that.
_TIMEOUT = 120.0

Request = tuple[str, dict[str, Any]]


@dataclass
class Traffic:
    """`gaps` are seconds between two pieces of an answer; `failed` are sentences."""

    whole: int = 0
    gaps: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def p95(self) -> float:
        return percentile(self.gaps, 0.95) if self.gaps else 0.0


@dataclass
class Outcome:
    """Good traffic alone and under attack; the attack's answers by status and code."""

    quiet: Traffic
    attacked: Traffic
    answers: Counter[str]


def schemas(model: str) -> Iterator[Request]:
    """Hostile schemas of every family, at every endpoint, as schemas and as forced tools."""
    places = itertools.cycle(itertools.product(("chat/completions", "messages", "responses"), ("schema", "tool")))
    for number, ((_, schema), (endpoint, place)) in enumerate(zip(hostile.schemas(1, 10**9), places, strict=False)):
        wanted: Any = {place: schema if place == "schema" else hostile.in_object(schema)}
        body = forms(f"Attack {number}", 200, **wanted)[endpoint] | {"model": model}
        yield f"/v1/{endpoint}", body | ({"temperature": 1.0} if endpoint == "messages" else {"temperature": 1.8})


def chats(model: str, text: str, **fields: Any) -> Iterator[Request]:
    """The same chat for ever; `{}` in its text becomes a number."""
    for number in itertools.count():
        message = {"role": "user", "content": text.format(number)}
        yield "/v1/chat/completions", {"model": model, "messages": [message], **fields}


def run(
    server: NoaServer, key: str, hostile_requests: Iterator[Request], *, seconds: float, model: str = "current"
) -> Outcome:
    """Good traffic of the server's own key for a third of `seconds` alone, then for `seconds` beside the attack of
    `key`."""

    async def measure() -> Outcome:
        quiet, _ = await _traffic(server, model, seconds / 3, lambda session, until: [])
        answers: Counter[str] = Counter()

        def attack(session: aiohttp.ClientSession, until: float) -> list[Any]:
            return [_attack(session, server, key, hostile_requests, until, answers) for _ in range(ATTACKERS)]

        attacked, _ = await _traffic(server, model, seconds, attack)
        return Outcome(quiet, attacked, answers)

    return asyncio.run(measure())


async def _traffic(
    server: NoaServer, model: str, seconds: float, others: Callable[[aiohttp.ClientSession, float], list[Any]]
) -> tuple[Traffic, list[Any]]:
    traffic, until = Traffic(), time.monotonic() + seconds
    timeout = aiohttp.ClientTimeout(_TIMEOUT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        good = [_stream(session, server, model, number, until, traffic) for number in range(CLIENTS)]
        ended = await asyncio.gather(*good, *others(session, until))
    return traffic, ended


async def _stream(
    session: aiohttp.ClientSession, server: NoaServer, model: str, client: int, until: float, traffic: Traffic
) -> None:
    """One client: one answer after the other. Every answer must be whole."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    for number in itertools.count():
        if time.monotonic() >= until:
            return
        message = {"role": "user", "content": f"Client {client}, question {number}: tell a story."}
        body = {"model": model, "messages": [message], "max_tokens": 64, "ignore_eos": True, "stream": True}
        try:
            async with session.post(f"{server.url}/v1/chat/completions", json=body, headers=headers) as answer:
                if await _is_whole(answer, traffic):
                    traffic.whole += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            traffic.failed.append(repr(error))


async def _is_whole(answer: aiohttp.ClientResponse, traffic: Traffic) -> bool:
    text, last = b"", 0.0
    async for piece, _ in answer.content.iter_chunks():
        now = time.monotonic()
        if last:
            traffic.gaps.append(now - last)
        last, text = now, text + piece
    if answer.status == 200 and text.rstrip().endswith(b"data: [DONE]"):
        return True
    traffic.failed.append(f"{answer.status} {text[-300:].decode(errors='replace')}")
    return False


async def _attack(
    session: aiohttp.ClientSession,
    server: NoaServer,
    key: str,
    requests: Iterator[Request],
    until: float,
    answers: Counter[str],
) -> None:
    headers = {"Authorization": f"Bearer {key}", "x-api-key": key}
    while time.monotonic() < until:
        path, body = next(requests)
        headers = {"x-api-key": key} if path == "/v1/messages" else {"Authorization": f"Bearer {key}"}
        try:
            async with session.post(server.url + path, json=body, headers=headers) as answer:
                found = await answer.json()
                error = found.get("error") or {}
                answers[f"{answer.status} {error.get('code') or error.get('type') or ''}".strip()] += 1
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            answers[type(error).__name__] += 1


def attacker_key(server: NoaServer, **fields: Any) -> str:
    """The text of a new key that may only infer."""
    status, made = server.api("POST", "/api/v1/api-keys", {"name": "attacker", "scopes": ["infer"], **fields})
    assert status == 201, made
    return str(made["key"])
