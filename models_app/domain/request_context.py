"""The request of a thread: its id in the log, and its place among those that Django processes."""

from __future__ import annotations

from contextvars import ContextVar

# The id in the client's answer; empty outside of requests. Each request runs in its own context.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class Place:
    """The place of a request in Django, of which there are few; see `models_app.gateway.edge.entrance`."""

    def leave(self) -> None:
        """Give the place to another request, from any thread: this one waits, or its answer has begun."""

    def recognize(self) -> None:
        """The request belongs to a session of a signed-in user: later ones of that session need not queue."""


place: ContextVar[Place] = ContextVar("place", default=Place())  # noqa: B039
