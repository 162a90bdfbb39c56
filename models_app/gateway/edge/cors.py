"""Access for web pages of other origins (CORS), as the Fetch standard defines it: https://fetch.spec.whatwg.org."""

from __future__ import annotations

from collections.abc import Iterable

from models_app.gateway.http.types import ANSWER_EXTENSION, ASGIApp, Header, Message, Receive, Scope, Send

# A browser asks again after this time.
_MAX_AGE_SECONDS = 600
# The headers of answers that a page can read.
_EXPOSED = (
    b"x-request-id, x-noa-model, x-noa-attempts, retry-after, x-litellm-call-id, x-litellm-model-id, "
    b"x-litellm-model-group, x-litellm-response-cost, x-litellm-response-duration-ms, x-litellm-attempted-retries, "
    b"x-litellm-attempted-fallbacks"
)


class Cors:
    """ASGI wrapper. Pages of `origins` can call `app`, and read all of its answers, errors and streams too.

    An origin is a scheme, a host and a port as a browser sends them, `https://chat.example.org`; `*` is all of them. No
    cookies are involved: each request carries its API key.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        origin = headers.get(b"origin")
        if origin is None or not (b"*" in self._origins or origin.lower() in self._origins):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _allow(send, origin, headers.get(b"access-control-request-headers", b""))
        else:
            await self._app(_without_shortcut(scope), receive, _marked(send, origin))


def _marked(send: Send, origin: bytes) -> Send:
    more = [*_for(origin), (b"access-control-expose-headers", _EXPOSED)]

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return marked


async def _allow(send: Send, origin: bytes, requested: bytes) -> None:
    """The answer to a preflight request: all headers that the page wants to send."""
    headers = [
        *_for(origin),
        (b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS"),
        (b"access-control-allow-headers", requested or b"authorization, content-type"),
        (b"access-control-max-age", str(_MAX_AGE_SECONDS).encode()),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _for(origin: bytes) -> list[Header]:
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]


def _without_shortcut(scope: Scope) -> Scope:
    """A scope whose answers all pass through `send`."""
    extensions = {name: value for name, value in scope.get("extensions", {}).items() if name != ANSWER_EXTENSION}
    return {**scope, "extensions": extensions}
