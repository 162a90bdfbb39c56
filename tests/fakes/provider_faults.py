"""Behaviours of the fake providers: one function per word of a script, the same for every dialect."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tests.fakes.provider_server import FakeProvider, Recorded

EVENT_STREAM = "text/event-stream"
RETRY_AFTER = "2"
# Longer than any line that a gateway should buffer.
# Longer than the longest event that is taken.
HUGE_BYTES = 17 * 1024 * 1024
HTML = "<!DOCTYPE html><html><head><title>Not here</title></head><body><h1>Not here</h1></body></html>"


@dataclass(frozen=True)
class Refusal:
    """An error of a provider, before the dialect gives it a shape."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None


@dataclass(frozen=True)
class Reply:
    """A successful answer: the object, or (`events` not None) a stream of whole events.

    `without_usage` and `usage_in_choices` are the same answer as other servers send it; `last` is the number of events
    that only mark the end of the stream.
    """

    whole: dict[str, Any]
    events: list[bytes] | None = None
    without_usage: Reply | None = None
    usage_in_choices: Reply | None = None
    last: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Exchange:
    """One request and its connection."""

    request: web.Request
    recorded: Recorded
    fake: FakeProvider
    # True once this side has closed: the client did not cause the cancellation that follows.
    closed_here: bool = False

    def reply(self) -> Reply:
        return self.fake.reply(self.recorded)

    def close(self) -> web.StreamResponse:
        """Closes the connection without another byte."""
        self.closed_here = True
        transport = self.request.transport
        assert transport is not None
        transport.close()
        return web.Response()

    def refused(self, refusal: Refusal, **headers: str) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(self.fake.error(refusal), status=refusal.status, headers=named)

    async def start(
        self,
        content_type: str = EVENT_STREAM,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type, **(headers or {})})
        response.content_length = length
        await response.prepare(self.request)
        return response

    async def send(self, reply: Reply) -> web.StreamResponse:
        """Sends the successful answer."""
        if reply.events is None:
            return web.json_response(reply.whole, headers=reply.headers)
        response = await self.start(headers=reply.headers)
        for event in reply.events:
            await response.write(event)
        return response


async def ok(exchange: Exchange) -> web.StreamResponse:
    """The successful answer, or the real provider's error for a wrong key or body."""
    refusal = exchange.fake.refuse(exchange.recorded)
    return exchange.refused(refusal) if refusal else await exchange.send(exchange.reply())


async def status_500(exchange: Exchange) -> web.StreamResponse:
    return exchange.refused(Refusal(500, "server_error", "The server had an error. Sorry!"))


async def status_503_retry_after(exchange: Exchange) -> web.StreamResponse:
    refusal = Refusal(503, "server_error", "The engine is currently overloaded.", "overloaded")
    return exchange.refused(refusal, retry_after=RETRY_AFTER)


async def overloaded_529(exchange: Exchange) -> web.StreamResponse:
    return exchange.refused(Refusal(529, "overloaded_error", "Overloaded"))


async def rate_limited_retry_after(exchange: Exchange) -> web.StreamResponse:
    refusal = Refusal(429, "rate_limit_error", "Rate limit reached.", "rate_limit_exceeded")
    return exchange.refused(refusal, retry_after=RETRY_AFTER)


async def bad_key(exchange: Exchange) -> web.StreamResponse:
    return exchange.refused(Refusal(401, "authentication_error", "Incorrect API key provided.", "invalid_api_key"))


async def context_length_exceeded(exchange: Exchange) -> web.StreamResponse:
    message = "This model's maximum context length is 128000 tokens: prompt is too long."
    return exchange.refused(Refusal(400, "invalid_request_error", message, "context_length_exceeded", "messages"))


async def refuse_stream_options(exchange: Exchange) -> web.StreamResponse:
    """Refuses the request for another reason, in words that name `stream_options`."""
    return exchange.refused(Refusal(400, "invalid_request_error", "There is no tool 'stream_options'."))


async def hang_before_headers(exchange: Exchange) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("never set")


async def hang_after_headers(exchange: Exchange) -> web.StreamResponse:
    """Sends nothing after the headers, or after a stream's first event."""
    reply = exchange.reply()
    if reply.events is None:
        await exchange.start("application/json", len(json.dumps(reply.whole)))
    else:
        response = await exchange.start()
        await response.write(reply.events[0])
    return await hang_before_headers(exchange)


async def hang_before_events(exchange: Exchange) -> web.StreamResponse:
    """Sends only the headers of a stream."""
    await exchange.start()
    return await hang_before_headers(exchange)


async def close_before_headers(exchange: Exchange) -> web.StreamResponse:
    return exchange.close()


async def truncated_body(exchange: Exchange) -> web.StreamResponse:
    """Sends half of the announced length; of a stream half of its bytes, ending within an event."""
    reply = exchange.reply()
    if reply.events is None:
        data = json.dumps(reply.whole).encode()
        response = await exchange.start("application/json", len(data))
        await response.write(data[: len(data) // 2])
    else:
        middle = len(reply.events) // 2
        cut = reply.events[middle]
        response = await exchange.start()
        await response.write(b"".join(reply.events[:middle]) + cut[: len(cut) // 2])
    return exchange.close()


async def slow_tokens(exchange: Exchange) -> web.StreamResponse:
    """Waits `fake.pause` seconds between events, or before a whole answer."""
    reply = exchange.reply()
    if reply.events is None:
        await asyncio.sleep(exchange.fake.pause)
        return await exchange.send(reply)
    response = await exchange.start()
    for event in reply.events:
        await response.write(event)
        await asyncio.sleep(exchange.fake.pause)
    return response


async def paced(exchange: Exchange) -> web.StreamResponse:
    """Sends the first events, and the rest when `fake.go` is set; a whole answer waits for it."""
    reply = exchange.reply()
    if reply.events is None:
        await asyncio.to_thread(exchange.fake.go.wait, 10)
        return await exchange.send(reply)
    response = await exchange.start()
    await response.write(b"".join(reply.events[:2]))
    await asyncio.to_thread(exchange.fake.go.wait, 10)
    await response.write(b"".join(reply.events[2:]))
    return response


async def bad_json(exchange: Exchange) -> web.StreamResponse:
    """Sends an answer that is not JSON, or a stream whose second event is not."""
    reply = exchange.reply()
    if reply.events is None:
        return web.Response(body=b'{"id": "x", "choices": [', content_type="application/json")
    response = await exchange.start()
    await response.write(reply.events[0] + b'data: {"id": "x", "choices": [\n\n')
    await response.write(b"".join(reply.events[1:]))
    return response


async def html_page(exchange: Exchange) -> web.StreamResponse:
    """Sends 200 and a web page, as a wrong base URL does."""
    return web.Response(text=HTML, content_type="text/html")


async def html_error(exchange: Exchange) -> web.StreamResponse:
    """Sends 502 and a web page, as a proxy in front of a provider does."""
    return web.Response(status=502, text=HTML, content_type="text/html")


async def no_usage(exchange: Exchange) -> web.StreamResponse:
    reply = exchange.reply()
    return await exchange.send(reply.without_usage or reply)


async def usage_in_chunk_with_choices(exchange: Exchange) -> web.StreamResponse:
    reply = exchange.reply()
    return await exchange.send(reply.usage_in_choices or reply)


async def no_done(exchange: Exchange) -> web.StreamResponse:
    """Ends a stream correctly at the HTTP level, without its final event."""
    reply = exchange.reply()
    if reply.events is None:
        return await exchange.send(reply)
    return await exchange.send(Reply(reply.whole, reply.events[: -reply.last]))


async def redirect(exchange: Exchange) -> web.StreamResponse:
    """Redirects to another path of this server, which records a client that follows."""
    return web.Response(status=307, headers={"Location": f"{exchange.fake.address}/elsewhere"})


async def huge_line(exchange: Exchange) -> web.StreamResponse:
    """Sends one event, or one JSON string, of `HUGE_BYTES`."""
    reply = exchange.reply()
    filler = b"x" * HUGE_BYTES
    if reply.events is None:
        body = b'{"choices": [], "content": "' + filler + b'"}'
        return web.Response(body=body, content_type="application/json")
    response = await exchange.start()
    await response.write(reply.events[0])
    await response.write(b'data: {"filler": "' + filler + b'"}\n\n')
    await response.write(b"".join(reply.events[1:]))
    return response


async def error_event_mid_stream(exchange: Exchange) -> web.StreamResponse:
    """Sends some events, the dialect's error event and the end; without a stream status 500."""
    reply = exchange.reply()
    if reply.events is None:
        return await status_500(exchange)
    response = await exchange.start()
    await response.write(b"".join(reply.events[: len(reply.events) // 2]))
    error = Refusal(529, "overloaded_error", "Overloaded", "overloaded")
    await response.write(exchange.fake.error_event(error))
    return response


async def wrong_content_type(exchange: Exchange) -> web.StreamResponse:
    """Sends the successful answer as text/plain."""
    reply = exchange.reply()
    if reply.events is None:
        return web.Response(body=json.dumps(reply.whole).encode(), content_type="text/plain")
    return web.Response(body=b"".join(reply.events), content_type="text/plain")


async def empty_body(exchange: Exchange) -> web.StreamResponse:
    """Sends 200 with an empty body, or a stream without events."""
    if exchange.reply().events is None:
        return web.Response(body=b"", content_type="application/json")
    return await exchange.start()


# The shapes of an error body, for `as_prompted`.
SHAPES = ("dialect", "text", "html", "empty", "gzip", "without_length", "cut", "detail", "list")
PROMPTED = "It refuses {0} {1}."
_REQUEST = re.compile(r"please (?:answer (?P<status>\d+) (?P<shape>\w+)|(?P<word>\w+))")


async def as_prompted(exchange: Exchange) -> web.StreamResponse:
    """Fails at some prompts only: at "please answer 451 html" with this status and shape, at "please bad_json" as that
    behaviour does. Other prompts get the successful answer.
    """
    found = _REQUEST.search(exchange.recorded.raw.decode("utf-8", "replace"))
    if found is None:
        return await ok(exchange)
    if found["word"]:
        return await BEHAVIOURS[found["word"]](exchange)
    return await _shaped(exchange, int(found["status"]), found["shape"])


async def _shaped(exchange: Exchange, status: int, shape: str) -> web.StreamResponse:
    message = PROMPTED.format(status, shape)
    if shape == "dialect":
        return exchange.refused(Refusal(status, "prompt_refused", message, "prompt_refused", "messages"))
    if shape == "gzip":
        body = gzip.compress(json.dumps({"error": {"message": message}}).encode())
        return web.Response(status=status, body=body, headers={"Content-Encoding": "gzip"})
    if shape in ("without_length", "cut"):
        raw = json.dumps({"error": {"message": message}}).encode()
        if shape == "cut":
            raw = raw[:20]
        transport = exchange.request.transport
        assert transport is not None
        length = f"Content-Length: {len(raw) + 100}\r\n" if shape == "cut" else ""
        transport.write(f"HTTP/1.1 {status} No\r\n{length}Connection: close\r\n\r\n".encode() + raw)
        return exchange.close()
    bodies = {
        "text": message,
        "html": HTML,
        "empty": "",
        "detail": json.dumps({"detail": [{"loc": ["body"], "msg": message}]}),
        "list": json.dumps([{"error": {"code": status, "message": message, "status": "REFUSED"}}]),
    }
    return web.Response(status=status, text=bodies[shape])


Behaviour = Callable[[Exchange], Awaitable[web.StreamResponse]]

BEHAVIOURS: dict[str, Behaviour] = {
    "as_prompted": as_prompted,
    "bad_json": bad_json,
    "bad_key": bad_key,
    "close_before_headers": close_before_headers,
    "context_length_exceeded": context_length_exceeded,
    "cut_mid_stream": truncated_body,
    "empty_body": empty_body,
    "error_event_mid_stream": error_event_mid_stream,
    "hang_after_headers": hang_after_headers,
    "hang_before_events": hang_before_events,
    "hang_before_headers": hang_before_headers,
    "html_error": html_error,
    "html_page": html_page,
    "huge_line": huge_line,
    "no_done": no_done,
    "no_usage": no_usage,
    "ok": ok,
    "overloaded_529": overloaded_529,
    "paced": paced,
    "rate_limited_retry_after": rate_limited_retry_after,
    "redirect": redirect,
    "refuse_stream_options": refuse_stream_options,
    "slow_tokens": slow_tokens,
    "status_500": status_500,
    "status_503_retry_after": status_503_retry_after,
    "truncated_body": truncated_body,
    "usage_in_chunk_with_choices": usage_in_chunk_with_choices,
    "wrong_content_type": wrong_content_type,
}
