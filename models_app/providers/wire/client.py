"""Asks one provider a few small questions. Not for the gateway's traffic, which has connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from models_app.domain import addresses
from models_app.domain.errors import NoaError
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.wire import credentials, failures, http

# The longest list of models that is known has 1 MB.
_MAX_ANSWER = 16 * 1024 * 1024
# What of an error's body is read: enough for any message.
_MAX_ERROR = 64 * 1024
_CONNECT_SECONDS = 10.0
# Lists of models come within a second or two; a server that takes longer is better asked again later.
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """`value` is the decoded JSON; None for an empty body and for an answer that is no success."""

    status: int
    headers: Mapping[str, str]
    value: Any
    body: bytes


class Client:
    """`async with Client(endpoint) as client`. Raises InvalidRequest for an address that is not allowed."""

    def __init__(self, endpoint: RemoteEndpoint) -> None:
        self.endpoint = endpoint
        addresses.checked_url(endpoint.base_url, allow_private=endpoint.allow_private)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connect = self.endpoint.connect_seconds or _CONNECT_SECONDS
        self._session = http.session(
            allow_private=self.endpoint.allow_private,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            headers=credentials.headers(self.endpoint),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of a good answer. Raises NoaError for every other end."""
        reply = await self.ask("GET", path, query=query)
        if reply.status != 200:
            raise self.refused(reply)
        return reply.value

    def refused(self, reply: Reply) -> NoaError:
        return failures.of_status(self.endpoint, reply.status, reply.headers, reply.body)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Reply:
        """Whatever the server answers. Raises NoaError when no answer comes, or none that is understood."""
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(method, path, query, body)
        except (aiohttp.ClientError, OSError) as error:
            raise failures.of_connection(self.endpoint, error, seconds) from None

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Reply:
        async with self._session.request(
            method,
            self.endpoint.base_url + path,
            params=query,
            data=None if body is None else orjson.dumps(body),
            headers={} if body is None else {"Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                told = await response.content.read(_MAX_ERROR)
                return Reply(response.status, dict(response.headers), None, told)
            try:
                data = await http.read_whole(response, _MAX_ANSWER)
            except http.TooLong:
                what = f"it has more than {_MAX_ANSWER // 2**20} MiB"
                raise failures.malformed(self.endpoint, what) from None
            return Reply(200, dict(response.headers), self._decoded(data), data)

    def _decoded(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise failures.malformed(self.endpoint, "it is not JSON") from None
