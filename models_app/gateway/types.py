"""The ASGI words, named once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

# An ASGI extension of NOA's HTTP server: a function that takes status, headers (with a content-length) and body, and
# answers a POST in one call. It costs a third of ASGI's two messages, and nothing is lost where it is missing.
ANSWER_EXTENSION = "noa.answer"
AnswerWhole = Callable[[int, list[Header], bytes], None]
