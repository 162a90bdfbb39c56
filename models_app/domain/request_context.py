"""The request of a line of the server's log."""

from __future__ import annotations

from contextvars import ContextVar

# The id in the client's answer; empty outside of requests. Each request runs in its own context.
request_id: ContextVar[str] = ContextVar("request_id", default="")
