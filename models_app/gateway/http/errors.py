"""Converts a NoaError to an HTTP answer of the gateway."""

from __future__ import annotations

import orjson

from models_app.domain.errors import (
    Draining,
    EngineError,
    InsufficientMemory,
    InvalidRequest,
    NoaError,
    NotFound,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
)
from models_app.gateway.http.types import Header
from models_app.providers.messages.errors import anthropic_error
from models_app.providers.wire import sse

JSON: Header = (b"content-type", b"application/json")


class NotAllowed(NoaError):
    """405: the path does not support the method. `allow` lists the methods that it supports."""

    http_status = 405
    default_code = "method_not_allowed"
    error_type = "invalid_request_error"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class UpstreamTimeout(NoaError):
    """504: a runner or a provider took longer than the gateway waits."""

    http_status = 504
    default_code = "upstream_timeout"
    retryable = True


class ServerStopping(Draining):
    """This process is shutting down; a retry reaches another process, or its successor."""

    default_code = "server_stopping"

    def __init__(self) -> None:
        super().__init__("The server is stopping. Send the request again.", retry_after=1)


class Unprocessable(InvalidRequest):
    """422: a runner or provider parsed the request and cannot process it."""

    http_status = 422


_BY_STATUS: dict[int, type[NoaError]] = {
    kind.http_status: kind
    for kind in (
        InvalidRequest,
        NotFound,
        RequestTooLarge,
        Unprocessable,
        RateLimited,
        EngineError,
        Unavailable,
        UpstreamTimeout,
        InsufficientMemory,
        NoaError,
    )
}


def of_status(status: int) -> type[NoaError]:
    """The error class for an upstream answer of this status; 502 for an unknown one."""
    return _BY_STATUS.get(status, EngineError)


def body(error: NoaError, request_id: str) -> bytes:
    """The JSON error object of OpenAI's API."""
    return orjson.dumps(error.body(request_id))


def event(error: NoaError, request_id: str) -> bytes:
    """The last event of a stream that cannot continue. No `[DONE]` follows it."""
    return b"data: " + body(error, request_id) + b"\n\n"


def headers(error: NoaError) -> list[Header]:
    """The headers that belong to this error, without length and request id."""
    found = [JSON]
    if isinstance(error, Unauthenticated):
        found.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, NotAllowed):
        found.append((b"allow", error.allow.encode("ascii")))
    if error.retry_after is not None:
        found.append((b"retry-after", b"%d" % error.retry_after))
    return found


def anthropic_body(error: NoaError, request_id: str) -> bytes:
    """The error object of Anthropic's API."""
    return orjson.dumps(anthropic_error(error, request_id))


def anthropic_event(error: NoaError, request_id: str) -> bytes:
    """The last event of a stream of Anthropic's API that cannot continue."""
    return sse.named(anthropic_error(error, request_id))
