"""Circuits of a web process: which requests are not sent to a provider for a while, its rate limits, its retry budget.

A provider has one circuit for all requests. Only what every request would meet opens it: no connection, or refused
credentials. What a provider answers to one request can be caused by it: server errors, silence and malformed answers
open a circuit of that API key and model alone, and only those of different requests count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from models_app.domain.errors import NoaError, RateLimited, Unavailable
from models_app.domain.residency.breaker import Breaker, BreakerState, RetryBudget
from models_app.domain.residency.contact import Contact
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.forwarding.faults import Fault, Verdict

# Called with the provider's slug, the new state and the reason; must return at once.
Report = Callable[[str, BreakerState, str], None]

# Called with the provider's slug, what a request met, the reason, and for how many seconds it gets no requests; must
# return at once.
Contacts = Callable[[str, Contact, str, float], None]

# Seconds between two reports of the same outcome: the time of the last contact is as old at most.
_CONTACT_SECONDS = 60.0
# A provider can demand hours, although an operator has raised the limit in the meantime.
_MAX_COOL_SECONDS = 300.0
# Bounds the memory of one provider's API keys and models in trouble; a forgotten one costs a few failed attempts.
_MAX_KEPT = 1000

# In the place of an API key: all of them.
_ALL_KEYS = ""

_Value = TypeVar("_Value")


class Attempt:
    """One admitted request on its way to a provider. Times are the event loop's.

    Call `end` when it is over: the next request can then probe in its place, if it ended without a verdict.
    """

    __slots__ = ("_circuit", "_key_id", "_model_id", "_probed", "_raw")

    def __init__(self, circuit: Circuit, model_id: str, key_id: str, raw: bytes, probed: tuple[Breaker, ...]) -> None:
        self._circuit = circuit
        self._model_id = model_id
        self._key_id = key_id
        self._raw = raw
        # The half-open breakers whose probe this request is.
        self._probed = probed

    def may_retry(self) -> bool:
        """Whether a retry is within the budget, and would be admitted."""
        return self._circuit.may_retry(self._key_id, self._model_id)

    def began(self, now: float) -> None:
        """A good answer has begun."""
        self._circuit.succeeded(now)
        own = self._circuit.own.get((self._key_id, self._model_id))
        if own is not None:
            own.succeeded(now)

    def learn(self, fault: Fault, now: float) -> None:
        """Applies the verdict of a fault, before or after the answer began."""
        circuit, reason = self._circuit, fault.error.message
        if fault.verdict is Verdict.UNREACHABLE:
            circuit.failed(reason, now)
        elif fault.verdict is Verdict.AUTH_REFUSED:
            circuit.rejected(reason, now)
        elif fault.verdict is Verdict.REFUSED_REQUEST:
            self.began(now)
        elif fault.verdict is Verdict.LIMITED:
            circuit.cool(self._model_id, self._key_id, fault.error.retry_after or 0, now)
        else:
            if fault.verdict is Verdict.CLOSED:
                circuit.failed(reason, now, source=self._key_id)
            elif fault.verdict is Verdict.FAILED:
                circuit.succeeded(now)
            self.broke(reason, now)

    def broke(self, reason: str, now: float) -> None:
        """The provider failed at this request."""
        self._circuit.failed_for(self._key_id, self._model_id, reason, now, source=hash(self._raw))

    def end(self) -> None:
        for breaker in self._probed:
            breaker.abandoned()


class Circuit:
    """The state of one provider while its address and credentials stay the same. `now` is the event loop's time."""

    def __init__(self, endpoint: RemoteEndpoint, report: Report, contacts: Contacts) -> None:
        self.identity = _identity(endpoint)
        # A server that refused OpenAI's `stream_options` gets requests without it from then on.
        self.takes_stream_options = True
        self._provider = endpoint.provider
        self._report = report
        self._contacts = contacts
        # The last contact that was reported, and when.
        self._contact: tuple[Contact, float] | None = None
        self._breaker = Breaker()
        self._budget = RetryBudget()
        # By API key and model, once a request has failed.
        self.own: _Bounded[Breaker] = _Bounded()
        # By API key and model: the end of a rate limit.
        self._cooling: _Bounded[float] = _Bounded()
        # By model: the last key that was limited, and until when.
        self._limited: _Bounded[tuple[str, float]] = _Bounded()
        # None: the state in the database is another process's, or from before the last restart.
        self._reported: BreakerState | None = None

    def wait(self, now: float) -> float:
        """Seconds until the provider gets a request, 0 if it gets the next one."""
        return self._breaker.wait(now)

    def admit(self, model_id: str, key_id: str, raw: bytes, now: float) -> Attempt:
        """Raises Unavailable or RateLimited, with the time to wait, while a circuit is open or the model rate limited.

        `raw` is the body of the request: failures of equal requests count once.
        """
        until = max(self._cooling.get((key_id, model_id)) or 0.0, self._cooling.get((_ALL_KEYS, model_id)) or 0.0)
        if until > now:
            raise _limited(self._provider, until - now)
        own = self.own.get((key_id, model_id))
        if own is not None and (wait := own.admit(now)) > 0:
            raise _held(self._provider, model_id, own.reason, wait)
        probed = () if own is None or own.state is not BreakerState.HALF_OPEN else (own,)
        if (wait := self._breaker.admit(now)) > 0:
            for breaker in probed:
                breaker.abandoned()
            raise _open(self._provider, self._breaker.reason, wait)
        if self._breaker.state is BreakerState.HALF_OPEN:
            probed = (*probed, self._breaker)
        self._budget.earn()
        self._report_trouble()
        return Attempt(self, model_id, key_id, raw, probed)

    def may_retry(self, key_id: str, model_id: str) -> bool:
        own = self.own.get((key_id, model_id))
        is_closed = self._breaker.state is BreakerState.CLOSED and (own is None or own.state is BreakerState.CLOSED)
        return is_closed and self._budget.spend()

    def succeeded(self, now: float) -> None:
        """The provider answered, whatever its status."""
        self._breaker.succeeded(now)
        self._report_change()
        self._met(Contact.ANSWERED, "", now)

    def failed(self, reason: str, now: float, *, source: Hashable = None) -> None:
        """There was no connection, or it ended without an answer; `source` is the API key that can be its cause."""
        self._breaker.failed(now, reason, source)
        self._report_trouble()
        self._met(Contact.NOT_REACHABLE, reason, now)

    def rejected(self, reason: str, now: float) -> None:
        self._breaker.rejected(now, reason)
        self._report_trouble()
        self._met(Contact.KEY_REFUSED, reason, now)

    def failed_for(self, key_id: str, model_id: str, reason: str, now: float, *, source: Hashable) -> None:
        """The provider failed at a request of this key for this model."""
        own = self.own.get((key_id, model_id))
        if own is None:
            own = Breaker()
            self.own.put((key_id, model_id), own)
        own.failed(now, reason, source)

    def cool(self, model_id: str, key_id: str, seconds: float, now: float) -> None:
        """Holds up the requests of this key for this model; of all keys, once a second one was limited meanwhile."""
        until = now + min(seconds, _MAX_COOL_SECONDS)
        limited = self._limited.get((_ALL_KEYS, model_id))
        self._limited.put((_ALL_KEYS, model_id), (key_id, until))
        self._cooling.put((key_id, model_id), until)
        if limited is not None and limited[0] != key_id and limited[1] > now:
            self._cooling.put((_ALL_KEYS, model_id), until)

    def _met(self, contact: Contact, reason: str, now: float) -> None:
        wait = self._breaker.wait(now)
        last = self._contact
        if not wait and last is not None and last[0] is contact and now - last[1] < _CONTACT_SECONDS:
            return
        self._contact = contact, now
        self._contacts(self._provider, contact, reason, wait)

    def _report_trouble(self) -> None:
        # A closed circuit is reported only after an answer.
        if self._breaker.state is not BreakerState.CLOSED:
            self._report_change()

    def _report_change(self) -> None:
        state = self._breaker.state
        if state is not self._reported:
            self._reported = state
            self._report(self._provider, state, self._breaker.reason)


def unreported(provider: str, state: BreakerState, reason: str) -> None:
    """For circuits without reports of their states."""


def unreported_contact(provider: str, contact: Contact, reason: str, wait: float) -> None:
    """For circuits without reports of contacts."""


class Circuits:
    """One circuit for each provider with requests. Changed credentials or a changed address start a new, closed one."""

    def __init__(self, report: Report, contacts: Contacts = unreported_contact) -> None:
        self._report, self._contacts = report, contacts
        self._circuits: dict[str, Circuit] = {}

    def of(self, endpoint: RemoteEndpoint) -> Circuit:
        circuit = self._circuits.get(endpoint.provider)
        if circuit is None or circuit.identity != _identity(endpoint):
            circuit = self._circuits[endpoint.provider] = Circuit(endpoint, self._report, self._contacts)
        return circuit

    def wait(self, endpoint: RemoteEndpoint, now: float) -> float:
        """Seconds until the provider gets a request, 0 if it gets the next one. Callable from every thread."""
        circuit = self._circuits.get(endpoint.provider)
        return 0.0 if circuit is None or circuit.identity != _identity(endpoint) else circuit.wait(now)


class _Bounded(Generic[_Value]):
    """Values by API key and model; the oldest entry makes room for a new one."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], _Value] = {}

    def get(self, name: tuple[str, str]) -> _Value | None:
        return self._values.get(name)

    def put(self, name: tuple[str, str], value: _Value) -> None:
        self._values.pop(name, None)
        if len(self._values) >= _MAX_KEPT:
            del self._values[next(iter(self._values))]
        self._values[name] = value


def _identity(endpoint: RemoteEndpoint) -> tuple[object, ...]:
    return endpoint.base_url, endpoint.api_key, endpoint.kind, endpoint.allow_private


def _open(provider: str, reason: str, wait: float) -> NoaError:
    return Unavailable(
        f"The provider '{provider}' gets no requests for now, because it failed: {reason[:300]}",
        code="provider_unavailable",
        details={"provider": provider},
        retry_after=math.ceil(wait),
    )


def _held(provider: str, model_id: str, reason: str, wait: float) -> NoaError:
    return Unavailable(
        f"Requests of this API key for '{model_id}' are not sent to the provider '{provider}' for now, because it "
        f"failed at the last ones: {reason[:300]}",
        code="provider_unavailable",
        details={"provider": provider, "model": model_id},
        retry_after=math.ceil(wait),
    )


def _limited(provider: str, wait: float) -> NoaError:
    return RateLimited(
        f"The provider '{provider}' limits its rate. Retry after the time in 'Retry-After'.",
        code="provider_rate_limited",
        details={"provider": provider},
        retry_after=math.ceil(wait),
    )
