"""Cancels requests whose client has disconnected, whose deadline has passed or whose key was revoked, in any phase.

Deadlines are those of this process's own running: after a standstill of the machine, streams go on where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from models_app.clocks import awake
from models_app.domain.errors import NoaError
from models_app.domain.records.access import AccessRecord
from models_app.gateway.http.errors import UpstreamTimeout
from models_app.gateway.http.request_body import ClientLeft, Limits
from models_app.gateway.http.types import Receive

# Maximum delay in detecting a deadline or a disconnect. Most answers of a fast runner have ended by then and need
# neither a timer nor a task.
_TICK_SECONDS = 0.05
# How often the keys of requests in flight are checked. A change is in the snapshot within about a second.
_KEYS_SECONDS = 1.0

# The error that ends a request in flight, if its key is not good any more.
KeyProblem = Callable[[AccessRecord], NoaError | None]


class Watch:
    """One monitored request. `verdict` is the reason for cancelling its task; None when something else cancelled it."""

    verdict: NoaError | ClientLeft | None = None
    # Both are set by the first tick, so that a request that ends before it reads no clock.
    begun: float | None = None
    silent_since: float = 0.0
    # Whether the runner or the provider has sent anything since the last tick.
    received: bool = False
    # Whether it has sent anything at all. Its first byte can arrive before the first tick.
    has_begun: bool = False
    # The provider's limits; None: those of the process.
    limits: Limits | None = None
    # Called at each tick with the time, by `awake`; must return at once.
    on_tick: Callable[[float], None] | None = None
    _listener: asyncio.Task[None] | None = None

    def __init__(self, receive: Receive, owner: asyncio.Task[object], record: AccessRecord) -> None:
        self._receive = receive
        self._owner = owner
        self.record = record

    def restart(self, limits: Limits | None) -> None:
        """Applies `limits`, and the timeout for the first byte again: the request goes to another server."""
        self.limits = limits
        self.has_begun = self.received = False

    def resume(self) -> None:
        """Restarts the timeout for the server's next byte, after the request has waited for a model."""
        self.silent_since = awake()

    def listen(self) -> None:
        """Starts to wait for the client's disconnect."""
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    def end(self, verdict: NoaError | ClientLeft) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self._owner.cancel()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(ClientLeft())


class Watches:
    """All requests of a process, checked by one timer that runs while there are any."""

    def __init__(self, limits: Limits, key_problem: KeyProblem) -> None:
        self._limits = limits
        self._key_problem = key_problem
        self._keys_at = 0.0
        self._watches: set[Watch] = set()
        self._is_ticking = False

    def start(self, receive: Receive, owner: asyncio.Task[object], record: AccessRecord) -> Watch:
        """Call it once the request's body was read: after that `receive` returns only the disconnect."""
        watch = Watch(receive, owner, record)
        self._watches.add(watch)
        if not self._is_ticking:
            self._is_ticking = True
            owner.get_loop().call_later(_TICK_SECONDS, self._tick)
        return watch

    def stop(self, watch: Watch) -> None:
        self._watches.discard(watch)
        watch.stop()

    def _tick(self) -> None:
        now = awake()
        for watch in self._watches:
            self._check(watch, now)
        if now >= self._keys_at:
            self._keys_at = now + _KEYS_SECONDS
            self._check_keys()
        self._is_ticking = bool(self._watches)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _check_keys(self) -> None:
        for watch in self._watches:
            problem = self._key_problem(watch.record)
            if problem is not None:
                watch.end(problem)

    def _check(self, watch: Watch, now: float) -> None:
        if watch.begun is None:
            watch.begun = watch.silent_since = now
            watch.listen()
        limits = watch.limits or self._limits
        if watch.received:
            watch.received = False
            watch.has_begun = True
            watch.silent_since = now
        if watch.on_tick is not None:
            watch.on_tick(now)
        is_first = not watch.has_begun
        patience = limits.first_byte_seconds if is_first else limits.idle_seconds
        if now - watch.begun > limits.total_seconds:
            watch.end(_took_too_long(limits.total_seconds))
        elif now - watch.silent_since > patience:
            watch.end(_stalled("begin its answer" if is_first else "continue its answer"))


def _took_too_long(seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"The answer took longer than {seconds:g} seconds and was ended. Request less at once.")


def _stalled(action: str) -> UpstreamTimeout:
    return UpstreamTimeout(
        f"The model did not {action} in time. It may be overloaded: try again, or request less at once."
    )
