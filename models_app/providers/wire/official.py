"""The official OpenAI client on connections that NOA checks itself. Import this module late.

Measured with Python 3.11 on two busy cores, on top of the imports of a web process: `import openai` takes 0.5 to 1.2 s
and 24 MB, and stalls the event loop of the same process for 20 to 112 ms. A further `import anthropic` takes 1.4 to
3.1 s and 39 MB, and stalls the loop for 134 to 319 ms. Anthropic's client is therefore not used: the provider test
runs in the web process, beside the gateway's streams, and a second client for the workers alone would serve two GETs,
and one POST whose bodies NOA translates anyway. This client sends those as well, to Anthropic's paths with its headers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from time import perf_counter
from typing import Any

import aiohttp
import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, AsyncStream
from yarl import URL

from models_app.providers.wire import http

# The longest known list of models has 1 MB, an answer to one small request far less.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
# How much of an error's body is read: enough for any message.
_MAX_ERROR_BYTES = 64 * 1024
# The client adds more: the machine's system and Python (`x-stainless-*`), and the values of OPENAI_ORG_ID,
# OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, which belong to one account and not to every provider.
_SENT_HEADERS = ("content-type",)
# aiohttp decodes the body piece by piece, so that the size limit counts decompressed bytes.
_UNDONE_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding")
# The client requires a key. The real one is in the session's headers: some providers need none, or another header.
_NO_KEY = "in-the-session"
_SENT_AT = "noa.sent_at"

STATUS_ERROR = APIStatusError
"""An answer with an error status; its `response` has been read, up to 64 KiB."""
CONNECTION_ERRORS = (APIConnectionError, httpx2.RequestError)
"""No whole answer arrived. While a raw stream is read, the client does not wrap the errors of its HTTP library."""
TIMEOUT_ERRORS = (APITimeoutError, httpx2.TimeoutException)


class SessionTransport(httpx2.AsyncBaseTransport):
    """Sends the client's requests over an aiohttp session, whose connector checks each address when it connects.

    Replaces httpx2's transport: webhooks connect through the same check, and streams keep their pace. With 16 streams
    of a token each 2 ms, the median gap is 2.3 ms as with aiohttp alone (p99 4.4 ms); through httpx2's transport it is
    0.1 ms (p99 90 ms): tokens arrive in bursts. No redirects, no proxies. The session and the caller set time limits.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx2.RequestError, whose cause is aiohttp's error."""
        sent_at = perf_counter()
        with _as_request_errors(request):
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                data=request.content or None,
                headers={name: request.headers[name] for name in _SENT_HEADERS if name in request.headers},
                allow_redirects=False,
            )
        return httpx2.Response(
            response.status,
            headers=[header for header in response.raw_headers if header[0].lower() not in _UNDONE_HEADERS],
            stream=_BoundedBody(request, response),
            request=request,
            extensions={"http_version": b"HTTP/1.1", _SENT_AT: sent_at},
        )

    async def aclose(self) -> None:
        await self._session.close()


class _BoundedBody(httpx2.AsyncByteStream):
    """The pieces of a body as they arrive. Raises http.TooLong past the limit; an error's body ends there instead."""

    def __init__(self, request: httpx2.Request, response: aiohttp.ClientResponse) -> None:
        self._request, self._response = request, response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_error = self._response.status != 200
        left = _MAX_ERROR_BYTES if is_error else MAX_ANSWER_BYTES
        with _as_request_errors(self._request):
            async for piece in self._response.content.iter_any():
                if len(piece) > left and not is_error:
                    raise http.TooLong
                yield piece[:left]
                left -= len(piece)
                if left < 0:
                    return

    async def aclose(self) -> None:
        self._response.release()
        await self._response.wait_for_close()


@contextlib.contextmanager
def _as_request_errors(request: httpx2.Request) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpx2.TimeoutException(str(error), request=request) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx2.TransportError(str(error), request=request) from error


def client(session: aiohttp.ClientSession, base_url: str) -> AsyncOpenAI:
    """The client, which closes the session when it is closed. Its retries and time limits are off."""
    transport = SessionTransport(session)
    return AsyncOpenAI(
        api_key=_NO_KEY,
        base_url=base_url,
        max_retries=0,
        timeout=None,
        http_client=httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=None),
    )


async def get(client: AsyncOpenAI, url: str, query: Mapping[str, str] | None = None) -> httpx2.Response:
    """The whole answer; `url` is absolute, or a path below the client's base URL. Raises the errors named above.

    The generic call and not `client.models.list()`, which parses only OpenAI's fields: many servers have more.
    """
    return await client.get(url, cast_to=httpx2.Response, options={"params": query or {}})


async def post(client: AsyncOpenAI, url: str, body: Mapping[str, Any]) -> httpx2.Response:
    """As `get`. The body is sent as it is: the typed calls add to it (`embeddings.create` its encoding)."""
    return await client.post(url, cast_to=httpx2.Response, body=dict(body))


async def post_streamed(client: AsyncOpenAI, url: str, body: Mapping[str, Any]) -> httpx2.Response:
    """As `post`, but returns after the headers; read it with `aiter_raw`, and close it."""
    stream = await client.post(url, cast_to=object, body=dict(body), stream=True, stream_cls=AsyncStream[object])
    return stream.response


def sent_at(response: httpx2.Response) -> float:
    """The time at which the request was sent, by `perf_counter`: without the client's own work of 0.8 ms."""
    return float(response.extensions[_SENT_AT])


def cause_of(error: BaseException) -> Exception:
    """aiohttp's error below those of the client and of its HTTP library."""
    while isinstance(error, CONNECTION_ERRORS) and error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, Exception)
    return error
