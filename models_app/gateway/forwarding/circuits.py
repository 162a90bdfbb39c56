"""The circuit breaker of each provider in this process, its rate limits, and its retry budget."""

from __future__ import annotations

import math
from collections.abc import Callable

from models_app.domain.errors import NoaError, RateLimited, Unavailable
from models_app.domain.residency.breaker import Breaker, BreakerState, RetryBudget
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.forwarding.faults import Fault, Verdict

# Called with the provider's slug, the new state and the reason; must return at once.
Report = Callable[[str, BreakerState, str], None]

# A provider can demand hours, although an operator has raised the limit in the meantime.
_MAX_COOL_SECONDS = 300.0
# Bounds the memory of rate-limited models of one provider; a forgotten one costs one failed attempt.
_MAX_COOLING = 1000


class Circuit:
    """The state of one provider while its address and key stay the same. `now` is the event loop's time."""

    def __init__(self, endpoint: RemoteEndpoint, report: Report) -> None:
        self.identity = _identity(endpoint)
        # A server that refused OpenAI's `stream_options` gets requests without it from then on.
        self.takes_stream_options = True
        self._provider = endpoint.provider
        self._report = report
        self._breaker = Breaker()
        self._budget = RetryBudget()
        # By model, since most limits are one model's: the time when its limit ends.
        self._cooling: dict[str, float] = {}
        # None: the state in the database is another process's, or from before the last restart.
        self._reported: BreakerState | None = None

    def admit(self, model_id: str, now: float) -> bool:
        """Whether this request is the probe of a half-open circuit: if it ends without a verdict, call `abandoned`.

        Raises Unavailable or RateLimited, with the time to wait, while the circuit is open or the model rate limited.
        """
        cool_until = self._cooling.get(model_id, 0.0)
        if cool_until > now:
            raise _limited(self._provider, cool_until - now)
        wait = self._breaker.admit(now)
        if wait > 0:
            raise _open(self._provider, self._breaker.reason, wait)
        self._budget.earn()
        self._report_trouble()
        return self._breaker.state is BreakerState.HALF_OPEN

    def may_retry(self) -> bool:
        """Whether a retry is within the budget, and would be admitted."""
        return self._breaker.state is BreakerState.CLOSED and self._budget.spend()

    def succeeded(self, now: float) -> None:
        self._breaker.succeeded(now)
        self._report_change()

    def abandoned(self) -> None:
        self._breaker.abandoned()

    def failed(self, reason: str, now: float) -> None:
        self._breaker.failed(now, reason)
        self._report_trouble()

    def learn(self, fault: Fault, model_id: str, now: float) -> None:
        """Applies the verdict of one failed attempt."""
        if fault.verdict is Verdict.REFUSED_REQUEST:
            self.succeeded(now)
        elif fault.verdict is Verdict.LIMITED:
            self._cool(model_id, fault.error.retry_after or 0, now)
        elif fault.verdict is Verdict.AUTH_REFUSED:
            self._breaker.rejected(now, fault.error.message)
        else:
            self._breaker.failed(now, fault.error.message)
        self._report_trouble()

    def _cool(self, model_id: str, seconds: float, now: float) -> None:
        if len(self._cooling) >= _MAX_COOLING:
            self._cooling.clear()
        self._cooling[model_id] = now + min(seconds, _MAX_COOL_SECONDS)

    def _report_trouble(self) -> None:
        # A closed circuit is reported only after an answer.
        if self._breaker.state is not BreakerState.CLOSED:
            self._report_change()

    def _report_change(self) -> None:
        state = self._breaker.state
        if state is not self._reported:
            self._reported = state
            self._report(self._provider, state, self._breaker.reason)


class Circuits:
    """One circuit for each provider with requests. A changed key or address starts a new, closed circuit."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._circuits: dict[str, Circuit] = {}

    def of(self, endpoint: RemoteEndpoint) -> Circuit:
        circuit = self._circuits.get(endpoint.provider)
        if circuit is None or circuit.identity != _identity(endpoint):
            circuit = self._circuits[endpoint.provider] = Circuit(endpoint, self._report)
        return circuit


def _identity(endpoint: RemoteEndpoint) -> tuple[object, ...]:
    return endpoint.base_url, endpoint.api_key, endpoint.kind, endpoint.allow_private


def _open(provider: str, reason: str, wait: float) -> NoaError:
    return Unavailable(
        f"The provider '{provider}' gets no requests for now, because it failed: {reason[:300]}",
        code="provider_unavailable",
        details={"provider": provider},
        retry_after=math.ceil(wait),
    )


def _limited(provider: str, wait: float) -> NoaError:
    return RateLimited(
        f"The provider '{provider}' limits its rate. Retry after the time in 'Retry-After'.",
        code="provider_rate_limited",
        details={"provider": provider},
        retry_after=math.ceil(wait),
    )
