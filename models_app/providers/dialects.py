"""Lists and checks the models of providers of any kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any, TypeVar

from models_app import clocks
from models_app.domain.errors import NoaError
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.wire import failures, resolving
from models_app.providers.wire.client import Client
from models_app.providers.wire.offers import Listing

Result = TypeVar("Result")
# A provider's slug, and its list or its failure.
Outcome = tuple[str, Listing | NoaError]
# For all pages of a list together.
_LIST_SECONDS = 90.0
# How often `poll` is called while lists are awaited.
_POLL_SECONDS = 0.25


async def list_models(endpoint: RemoteEndpoint) -> Listing:
    """Every model that the provider lists. Raises NoaError with a message that names the provider."""
    list_models = resolving.list_models(endpoint.kind)
    async with Client(endpoint) as client:
        try:
            async with clocks.timeout(_LIST_SECONDS):
                return await list_models(client)
        except TimeoutError as error:
            raise failures.of_connection(endpoint, error, _LIST_SECONDS) from None


async def check_model(endpoint: RemoteEndpoint) -> None:
    """Raises NoaError with the reason unless the provider accepts the key and has `endpoint.model_id`."""
    async with Client(endpoint) as client:
        await resolving.check_model(endpoint.kind)(client)


def list_all(endpoints: Iterable[RemoteEndpoint], *, poll: Callable[[], None]) -> Iterator[Outcome]:
    """Requests all lists at the same time; yields the outcomes in the order of the answers.

    For code without an event loop. `poll` is called every 0.25 s; if it raises, the open requests are cancelled.
    """
    yield from _results([_outcome(endpoint) for endpoint in endpoints], poll)


def watched(work: Coroutine[Any, Any, Result], *, poll: Callable[[], None]) -> Result:
    """The result of one request, for code without an event loop; `poll` is called as by `list_all`."""
    with contextlib.closing(_results([work], poll)) as results:
        return next(results)


def _results(work: Iterable[Coroutine[Any, Any, Result]], poll: Callable[[], None]) -> Generator[Result, None, None]:
    """The results in the order in which they complete. Closing the generator cancels the rest."""
    with asyncio.Runner() as runner:
        pending = runner.run(_begin(work))
        while pending:
            done, pending = runner.run(_wait(pending))
            for task in done:
                yield task.result()
            poll()


async def _begin(work: Iterable[Coroutine[Any, Any, Result]]) -> set[asyncio.Task[Result]]:
    return {asyncio.create_task(coroutine) for coroutine in work}


async def _outcome(endpoint: RemoteEndpoint) -> Outcome:
    try:
        return endpoint.provider, await list_models(endpoint)
    except NoaError as error:
        return endpoint.provider, error


async def _wait(
    pending: set[asyncio.Task[Result]],
) -> tuple[set[asyncio.Task[Result]], set[asyncio.Task[Result]]]:
    return await asyncio.wait(pending, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
