"""The kinds of providers that answer over the network, and the questions that each one can be asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, TypeVar

from models_app.domain.catalog.providers import ProviderKind
from models_app.domain.errors import NoaError
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.anthropic import listing as anthropic
from models_app.providers.llamacpp import listing as llamacpp
from models_app.providers.openai import listing as openai
from models_app.providers.wire import failures
from models_app.providers.wire.client import Client
from models_app.providers.wire.offers import Listing

Result = TypeVar("Result")
# A provider's slug, and its list or its failure.
Outcome = tuple[str, Listing | NoaError]
# Of all pages of a list together.
_LIST_SECONDS = 90.0
# How often whoever waits for lists may see to something else.
_LOOK_EVERY = 0.25


@dataclass(frozen=True, slots=True)
class Dialect:
    """The questions of one kind of provider; each raises NoaError, in words that name the provider."""

    client: Callable[[RemoteEndpoint], Client]
    list_models: Callable[[Client], Awaitable[Listing]]
    check_model: Callable[[Client], Awaitable[None]]


PROVIDERS: Mapping[ProviderKind, Dialect] = {
    ProviderKind.OPENAI: Dialect(Client, openai.list_models, openai.check_model),
    ProviderKind.ANTHROPIC: Dialect(Client, anthropic.list_models, anthropic.check_model),
    ProviderKind.LLAMA_CPP: Dialect(llamacpp.client, llamacpp.list_models, llamacpp.check_model),
}


async def list_models(endpoint: RemoteEndpoint) -> Listing:
    """Every model that the provider names."""
    dialect = PROVIDERS[endpoint.kind]
    async with dialect.client(endpoint) as client:
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                return await dialect.list_models(client)
        except TimeoutError as error:
            raise failures.of_connection(endpoint, error, _LIST_SECONDS) from None


async def check_model(endpoint: RemoteEndpoint) -> None:
    """Whether the provider takes the key and has `endpoint.model_id`; raises NoaError with its reason."""
    dialect = PROVIDERS[endpoint.kind]
    async with dialect.client(endpoint) as client:
        await dialect.check_model(client)


def list_all(endpoints: Iterable[RemoteEndpoint], *, look: Callable[[], None]) -> Iterator[Outcome]:
    """Ask all of them at once; yields the outcomes, whoever answers first.

    For code without an event loop. `look` is called now and then, and may raise to end it all.
    """
    yield from _results([_outcome(endpoint) for endpoint in endpoints], look)


def watched(work: Coroutine[Any, Any, Result], *, look: Callable[[], None]) -> Result:
    """The result of one such question, for code without an event loop; `look` is called as by `list_all`."""
    with contextlib.closing(_results([work], look)) as results:
        return next(results)


def _results(work: Iterable[Coroutine[Any, Any, Result]], look: Callable[[], None]) -> Generator[Result, None, None]:
    """What each comes to, whoever is done first. Leaving it early cancels the rest."""
    with asyncio.Runner() as runner:
        pending = runner.run(_begin(work))
        while pending:
            done, pending = runner.run(_wait(pending))
            for task in done:
                yield task.result()
            look()


async def _begin(work: Iterable[Coroutine[Any, Any, Result]]) -> set[asyncio.Task[Result]]:
    return {asyncio.create_task(one) for one in work}


async def _outcome(endpoint: RemoteEndpoint) -> Outcome:
    try:
        return endpoint.provider, await list_models(endpoint)
    except NoaError as error:
        return endpoint.provider, error


async def _wait(
    pending: set[asyncio.Task[Result]],
) -> tuple[set[asyncio.Task[Result]], set[asyncio.Task[Result]]]:
    return await asyncio.wait(pending, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
