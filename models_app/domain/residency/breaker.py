"""The circuit breaker and the retry budget of a provider. Pure: the caller passes the time in seconds.

A failure can name its source, such as an API key: failures of one source count once, so that it never opens a circuit
alone.

closed ── too many failures, or refused credentials ──▶ open ── pause over ──▶ half open
   ▲                                                     ▲                       │
   └─────────────── the probe succeeded ─────────────────┼───────────────────────┤
                                                         └── the probe failed ───┘
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Times are seconds."""

    # One bad minute of a provider shows within its first few requests; fewer could be chance.
    min_failures: int = 5
    # A provider that answers most requests stays in use.
    failure_ratio: float = 0.5
    window: float = 30.0
    first_pause: float = 5.0
    max_pause: float = 120.0
    # Corrected credentials create a new breaker; until then a probe rarely succeeds.
    rejected_pause: float = 60.0


DEFAULT_POLICY = BreakerPolicy()
# The wait of other requests while the one probe is in flight.
_PROBE_WAIT = 1.0


class Breaker:
    """One circuit. Every admitted request ends with exactly one of the four verdicts."""

    def __init__(self, policy: BreakerPolicy = DEFAULT_POLICY) -> None:
        self.state = BreakerState.CLOSED
        self.reason = ""
        self._policy = policy
        self._window = _Window(policy.window)
        self._pause = policy.first_pause
        self._until = 0.0
        self._is_probing = False

    def admit(self, now: float) -> float:
        """0 when a request is admitted, otherwise the seconds until one is."""
        if self.state is BreakerState.CLOSED:
            return 0.0
        if now < self._until:
            return self._until - now
        if self._is_probing:
            return _PROBE_WAIT
        self.state = BreakerState.HALF_OPEN
        self._is_probing = True
        return 0.0

    def wait(self, now: float) -> float:
        """As `admit`, for a caller that sends no request."""
        return max(0.0, self._until - now) if self.state is BreakerState.OPEN else 0.0

    def succeeded(self, now: float) -> None:
        """The provider answered; an error that the client caused is an answer."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.CLOSED
            self.reason = ""
            self._pause = self._policy.first_pause
            self._window.clear()
        elif self.state is BreakerState.CLOSED:
            self._window.succeeded(now)

    def failed(self, now: float, reason: str, source: Hashable = None) -> None:
        """One failure. Those of the same `source`, unless it is None, count once within the window."""
        if self.state is BreakerState.HALF_OPEN:
            self._pause = min(2 * self._pause, self._policy.max_pause)
            self._open(now, reason, self._pause)
        elif self.state is BreakerState.CLOSED:
            self._window.failed(now, source)
            failures, total = self._window.sums()
            policy = self._policy
            if failures >= policy.min_failures and failures >= policy.failure_ratio * total:
                self._open(now, reason, self._pause)

    def rejected(self, now: float, reason: str) -> None:
        """The provider does not accept the credentials: the next request would fail too."""
        self._open(now, reason, self._policy.rejected_pause)

    def abandoned(self) -> None:
        """The request ended without a result: its client left, or it was rate limited. Another request can probe."""
        self._is_probing = False

    def _open(self, now: float, reason: str, pause: float) -> None:
        self.state = BreakerState.OPEN
        self.reason = reason
        self._is_probing = False
        self._until = now + pause
        self._window.clear()


class RetryBudget:
    """Retries as a share of requests, so that an outage does not double the load."""

    # With the breaker, this keeps the calls of an outage within 1.2 times its requests.
    share = 0.1
    burst = 2.0

    def __init__(self) -> None:
        self._left = self.burst

    def earn(self) -> None:
        """Add the share of one request of a client."""
        self._left = min(self.burst, self._left + self.share)

    def spend(self) -> bool:
        """Take one retry from the budget; False if it is used up."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class _Window:
    """Failures and requests of the last half to whole window, in two buckets."""

    def __init__(self, seconds: float) -> None:
        self._half = seconds / 2
        self.clear()

    def clear(self) -> None:
        self._since = float("-inf")
        self._now = _Bucket()
        self._before = _Bucket()

    def succeeded(self, at: float) -> None:
        self._bucket(at).successes += 1

    def failed(self, at: float, source: Hashable) -> None:
        bucket = self._bucket(at)
        if source is None:
            bucket.failures += 1
        else:
            bucket.sources.add(source)

    def sums(self) -> tuple[int, int]:
        """Failures, and requests."""
        now, before = self._now, self._before
        failures = now.failures + before.failures + len(now.sources | before.sources)
        return failures, failures + now.successes + before.successes

    def _bucket(self, at: float) -> _Bucket:
        age = at - self._since
        if age >= self._half:
            self._before = self._now if age < 2 * self._half else _Bucket()
            self._now = _Bucket()
            self._since = at
        return self._now


class _Bucket:
    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.sources: set[Hashable] = set()
