"""Which request a line of the server's log is about."""

from __future__ import annotations

from contextvars import ContextVar

# The id that the client hears; empty outside of requests. Each request runs in a context of its own.
request_id: ContextVar[str] = ContextVar("request_id", default="")
