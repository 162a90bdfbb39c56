"""Sends one provider a few small requests. Not for the gateway's traffic, which has separate connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from models_app import clocks
from models_app.domain import addresses
from models_app.domain.errors import NoaError
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.providers.wire import credentials, failures, http

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 10.0
# Lists of models take a second or two; a server that needs longer is better retried later.
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """`value` is the decoded JSON of an answer with status 200; None for any other status."""

    status: int
    headers: Mapping[str, str]
    value: Any
    body: bytes


class Client:
    """`async with Client(endpoint) as client`. Raises InvalidRequest for an address that is not allowed.

    One client for each operation: its connections end with it.
    """

    def __init__(self, endpoint: RemoteEndpoint) -> None:
        self.endpoint = endpoint
        addresses.checked_url(endpoint.base_url, allow_private=endpoint.allow_private)
        self._openai: AsyncOpenAI

    async def __aenter__(self) -> Self:
        from models_app.providers.wire import official

        connect = self.endpoint.connect_seconds or _CONNECT_SECONDS
        session = http.session(
            allow_private=self.endpoint.allow_private,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            headers=credentials.headers(self.endpoint),
        )
        self._openai = official.client(session, self.endpoint.base_url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._openai.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of an answer with status 200. Raises NoaError for every other outcome."""
        reply = await self.request("GET", path, query=query)
        if reply.status != 200:
            raise self.refused(reply)
        return reply.value

    def refused(self, reply: Reply) -> NoaError:
        return failures.of_status(self.endpoint, reply.status, reply.headers, reply.body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Reply:
        """The server's answer with any status. Raises NoaError when none arrives, or a 200 that is not JSON.

        `path` is below the endpoint's base URL, or an absolute URL of the same server.
        """
        from models_app.providers.wire import official

        try:
            async with clocks.timeout(seconds):
                if method == "GET":
                    response = await official.get(self._openai, path, query)
                else:
                    response = await official.post(self._openai, path, body or {})
        except official.STATUS_ERROR as error:
            response = error.response
        except (*official.CONNECTION_ERRORS, TimeoutError) as error:
            raise failures.of_connection(self.endpoint, official.cause_of(error), seconds) from None
        except http.TooLong:
            what = f"it has more than {official.MAX_ANSWER_BYTES // 2**20} MiB"
            raise failures.malformed(self.endpoint, what) from None
        return self._reply(response)

    def _reply(self, response: httpx2.Response) -> Reply:
        data = response.content
        value = self._decoded(data) if response.status_code == 200 else None
        return Reply(response.status_code, response.headers, value, data)

    def _decoded(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise failures.malformed(self.endpoint, "it is not JSON") from None
