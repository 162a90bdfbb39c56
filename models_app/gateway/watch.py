"""Ends a request whose client has left or whose time is up, in whatever phase it is."""

from __future__ import annotations

import asyncio

from models_app.domain.errors import NoaError
from models_app.gateway.admission import ClientLeft, Limits
from models_app.gateway.errors import UpstreamTimeout
from models_app.gateway.types import Receive

# Most answers of a fast runner are over by then, and cost no task of their own.
_LOOK_AFTER_SECONDS = 0.02
# How late a deadline may be seen.
_TICK_SECONDS = 1.0


class Watch:
    """One timer a request and, once it lasts, one task that waits for the client to leave.

    Either cancels the request's own task; `verdict` then says why. It is None when somebody else cancelled.
    """

    __slots__ = (
        "_deadline",
        "_limits",
        "_listener",
        "_loop",
        "_owner",
        "_receive",
        "_timer",
        "_waiting_for",
        "_worst",
        "verdict",
    )

    def __init__(self, receive: Receive, limits: Limits) -> None:
        owner = asyncio.current_task()
        assert owner is not None
        self.verdict: NoaError | ClientLeft | None = None
        self._owner = owner
        self._receive = receive
        self._limits = limits
        self._listener: asyncio.Task[None] | None = None
        self._loop = owner.get_loop()
        now = self._loop.time()
        self._worst = now + limits.total_seconds
        self._deadline = now + limits.first_byte_seconds
        self._waiting_for = "begin its answer"
        self._timer = self._loop.call_later(_LOOK_AFTER_SECONDS, self._look)

    def alive(self) -> None:
        """The runner has sent something: from now on its pauses count."""
        self._deadline = self._loop.time() + self._limits.idle_seconds
        self._waiting_for = "go on with its answer"

    def stop(self) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _look(self) -> None:
        if self._listener is None:
            self._listener = self._loop.create_task(self._listen())
        now = self._loop.time()
        due = min(self._deadline, self._worst)
        if now >= due:
            self._end(self._timeout())
            return
        self._timer = self._loop.call_later(min(due - now, _TICK_SECONDS), self._look)

    def _timeout(self) -> UpstreamTimeout:
        if self._worst <= self._deadline:
            return UpstreamTimeout(
                f"The answer took longer than {self._limits.total_seconds:g} seconds and was ended. Ask for less at once."
            )
        return UpstreamTimeout(
            f"The model did not {self._waiting_for} in time. It may be overloaded: try again, or ask for less at once."
        )

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(ClientLeft())

    def _end(self, verdict: NoaError | ClientLeft) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self._owner.cancel()
