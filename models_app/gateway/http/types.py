"""The types of ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from models_app.domain.errors import NoaError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]
# Converts an error and the request's id to the error body of a client's dialect.
ErrorShape = Callable[[NoaError, str], bytes]

# An ASGI extension of NOA's HTTP server. Its `whole` takes status, headers (with a content-length) and body, and
# answers a POST in one call, for a third of the cost of ASGI's two messages. Without it, the two messages are sent.
ANSWER_EXTENSION = "noa.answer"
AnswerWhole = Callable[[int, list[Header], bytes], None]

# The connection of a request, as an ASGI extension: an object with the attribute `is_proven`. The application sets it
# once a request on the connection has had a valid key.
CONNECTION_EXTENSION = "noa.connection"


def prove(scope: Scope) -> None:
    """Marks the connection of a request with a valid key: when there are too many, others are closed first."""
    connection = scope.get("extensions", {}).get(CONNECTION_EXTENSION)
    if connection is not None:
        connection.is_proven = True
