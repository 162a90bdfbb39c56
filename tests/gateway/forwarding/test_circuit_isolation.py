"""What one API key meets at a provider holds up no other key and no other model, whatever the sequence."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.domain.errors import NoaError
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.breaker import DEFAULT_POLICY, BreakerState
from models_app.domain.residency.contact import Contact
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.dialects.streams import ErrorEvent
from models_app.gateway.forwarding import faults
from models_app.gateway.forwarding.circuits import Attempt, Circuit, Circuits
from models_app.gateway.forwarding.faults import Fault, Verdict
from models_app.gateway.upstream.connection import Broken, ClosedEarly, Malformed, Redirected, Refused, UpstreamError
from models_app.gateway.upstream.dialing import AddressRefused, ConnectTimeout

pytestmark = pytest.mark.wide

ENDPOINT = RemoteEndpoint("box", ProviderKind.OPENAI, "https://box.example/v1", "m", "a-key")
MALLORY, ALICE = "mallory", "alice"
MANY = 3 * DEFAULT_POLICY.min_failures

_ERROR = {"message": "No. 'invalid_api_key', Not authenticated", "type": "refused", "code": "refused", "param": "x"}
BODIES = {
    "openai": orjson.dumps({"error": _ERROR}),
    "anthropic": orjson.dumps({"type": "error", "error": _ERROR}),
    "google": orjson.dumps([{"error": {"code": 403, "message": "No.", "status": "PERMISSION_DENIED"}}]),
    "detail": orjson.dumps({"detail": "No."}),
    "text": b"No.",
    "html": b"<html>Forbidden</html>",
    "empty": b"",
    "binary": bytes(range(256)),
}
# Of these, one is enough, and meant for all: NOA's key is refused. The others are about the rate, or NOA's proxy.
STATUSES = sorted(set(range(400, 600)) - {401})
BROKEN: tuple[Callable[[], UpstreamError], ...] = (
    lambda: Broken("cut"),
    lambda: ClosedEarly("closed"),
    lambda: Malformed("it is not HTTP"),
    lambda: Redirected("302"),
)
# What the provider, or this process, makes of an answer that has begun.
IN_ANSWER: tuple[Callable[[], UpstreamError | ErrorEvent], ...] = (
    lambda: Broken("cut"),
    lambda: Malformed("an event of its stream is not valid JSON"),
    lambda: ErrorEvent({"message": "Overloaded", "type": "overloaded_error"}),
    lambda: ErrorEvent({"message": "No.", "code": 401}),
    lambda: ErrorEvent({"message": "No.", "code": 403}),
    lambda: ErrorEvent({"message": "Slow down.", "code": 429}),
)
GONE = (lambda: Refused("connection refused"), lambda: ConnectTimeout("accepted no connection within 5 s"))

_numbers = itertools.count()


class Reports:
    def __init__(self) -> None:
        self.states: list[BreakerState] = []

    def __call__(self, provider: str, state: BreakerState, reason: str) -> None:
        self.states.append(state)


def new() -> tuple[Circuit, Reports]:
    reports = Reports()
    return Circuits(reports).of(ENDPOINT), reports


def admit(circuit: Circuit, key: str, model: str, now: float) -> Attempt | None:
    """A new request, different from all others; None if it is refused."""
    try:
        return circuit.admit(model, key, b"request %d" % next(_numbers), now)
    except NoaError:
        return None


def refusal(status: int, shape: str, retry_after: bytes = b"300") -> Fault:
    return faults.from_answer(status, {b"retry-after": retry_after}, BODIES[shape], ENDPOINT)


def meet(circuit: Circuit, fault: Fault, *, key: str = MALLORY, model: str = "m", now: float = 0.0) -> None:
    attempt = admit(circuit, key, model, now)
    if attempt is not None:
        attempt.learn(fault, now)
        attempt.end()


@pytest.mark.parametrize("model", ["m", "n"])
@pytest.mark.parametrize("key", [MALLORY, ALICE])
@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("kind", [range(400, 500), range(500, 600)], ids=["4xx", "5xx"])
def test_no_status_holds_up_another_key_or_model(kind: range, shape: str, key: str, model: str) -> None:
    """Of the same key and model, only 5xx, the rate and the proxy do."""
    for status in (status for status in STATUSES if status in kind):
        circuit, reports = new()
        for _ in range(MANY):
            meet(circuit, refusal(status, shape))
        is_admitted = admit(circuit, key, model, 0.0) is not None
        is_same = (key, model) == (MALLORY, "m")
        assert is_admitted == (not is_same or status not in (407, 429, *range(500, 600))), status
        assert set(reports.states) <= {BreakerState.CLOSED}, status


@pytest.mark.parametrize("key", [MALLORY, ALICE])
@pytest.mark.parametrize("model", ["m", "n"])
@pytest.mark.parametrize("gone", GONE)
def test_a_missing_connection_holds_up_all(gone: Callable[[], UpstreamError], key: str, model: str) -> None:
    circuit, reports = new()
    for _ in range(DEFAULT_POLICY.min_failures):
        assert admit(circuit, key, model, 0.0) is not None
        meet(circuit, faults.from_connection(gone(), ENDPOINT))
    assert admit(circuit, key, model, 0.0) is None
    assert reports.states == [BreakerState.OPEN]


@pytest.mark.parametrize("key", [MALLORY, ALICE])
@pytest.mark.parametrize("model", ["m", "n"])
@pytest.mark.parametrize(
    ("status", "body"), [(401, b""), (403, b'{"error": {"code": "invalid_api_key"}}'), (403, b"Not authenticated")]
)
def test_refused_credentials_hold_up_all_at_once(status: int, body: bytes, key: str, model: str) -> None:
    circuit, reports = new()
    meet(circuit, faults.from_answer(status, {}, body, ENDPOINT))
    assert admit(circuit, key, model, 0.0) is None
    assert reports.states == [BreakerState.OPEN]


def test_an_address_that_is_not_allowed_is_a_missing_connection() -> None:
    assert faults.from_connection(AddressRefused("10.0.0.1"), ENDPOINT).verdict is Verdict.UNREACHABLE


def test_the_state_of_keys_and_models_is_bounded() -> None:
    circuit, _ = new()
    for number in range(3000):
        meet(circuit, refusal(500, "empty"), key=f"key {number}")
        meet(circuit, refusal(429, "empty"), key=f"key {number}", model=f"model {number}")
    assert len(circuit.own._values) <= 1000
    assert len(circuit._cooling._values) <= 1000


# Anything but what is about the connection or NOA's credentials.
one_of_mallorys = st.one_of(
    st.builds(
        refusal, st.sampled_from(STATUSES), st.sampled_from(sorted(BODIES)), st.sampled_from([b"", b"0", b"9e9"])
    ),
    st.sampled_from(BROKEN).map(lambda broken: faults.from_connection(broken(), ENDPOINT)),
    st.just(faults.timed_out(ENDPOINT, 1.0)),
)
after_it_began = st.sampled_from(IN_ANSWER).map(lambda broken: faults.in_answer(broken(), ENDPOINT))
step = st.tuples(
    st.sampled_from(["refused", "begun", "good", "left", "stalled"]),
    one_of_mallorys,
    after_it_began,
    st.sampled_from(["m", "n"]),
    st.floats(0.0, 40.0),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=60))
def test_whatever_one_client_meets_another_is_answered(steps: list[tuple[str, Fault, Fault, str, float]]) -> None:
    circuit, reports = new()
    now = 0.0
    for how, fault, later, model, seconds in steps:
        now += seconds
        attempt = admit(circuit, MALLORY, model, now)
        if attempt is not None:
            _end(attempt, how, fault, later, now)
        for key, name in ((ALICE, "m"), (ALICE, "n"), (MALLORY, "other")):
            assert admit(circuit, key, name, now) is not None, (key, name)
    assert set(reports.states) <= {BreakerState.CLOSED}
    assert circuit.takes_stream_options


def _end(attempt: Attempt, how: str, fault: Fault, later: Fault, now: float) -> None:
    if how == "refused":
        attempt.learn(fault, now)
    elif how != "left":
        attempt.began(now)
        if how == "begun":
            attempt.learn(later, now)
        elif how == "stalled":
            attempt.broke("It took too long.", now)
    attempt.end()


def test_contacts_are_reported_when_they_change_and_once_a_minute() -> None:
    met: list[tuple[Contact, float]] = []
    circuit = Circuits(Reports(), lambda _slug, contact, _reason, wait: met.append((contact, wait))).of(ENDPOINT)
    unreachable = faults.from_connection(GONE[0](), ENDPOINT)
    for now in (0.0, 1.0, 59.0, 61.0):
        attempt = admit(circuit, MALLORY, "m", now)
        assert attempt is not None
        attempt.began(now)
    meet(circuit, unreachable, now=62.0)
    meet(circuit, unreachable, now=63.0)
    assert met == [(Contact.ANSWERED, 0.0), (Contact.ANSWERED, 0.0), (Contact.NOT_REACHABLE, 0.0)]
    meet(circuit, faults.from_answer(401, {}, BODIES["openai"], ENDPOINT), now=64.0)
    assert met[-1][0] is Contact.KEY_REFUSED
    assert met[-1][1] > 0, "it gets no requests for a while"
