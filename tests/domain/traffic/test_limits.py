"""The limits of keys: checked, merged with the default, and counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.domain.errors import InvalidRequest, PermissionDenied
from models_app.domain.traffic import limits
from models_app.domain.traffic.limits import Counters, KeyLimits, Refusal, Spent, Ticket

NOW = 1_700_000_000.5


def ticket(number: int, now: float = NOW, reserved: int = 0) -> Ticket:
    return Ticket("key", f"request-{number}", reserved, int(now))


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        ({}, {}, None),
        ({"requests_per_minute": 5}, {}, KeyLimits(requests_per_minute=5)),
        ({}, {"requests_per_minute": 9}, KeyLimits(requests_per_minute=9)),
        ({"requests_per_minute": 0}, {"requests_per_minute": 9}, None),
        (
            {"max_concurrent": 2},
            {"monthly_budget_usd": 1.5},
            KeyLimits(max_concurrent=2, monthly_budget_usd=1.5),
        ),
        ({"addresses": ["10.0.0.0/8"]}, {}, KeyLimits(addresses=("10.0.0.0/8",))),
    ],
)
def test_a_keys_own_limits_go_before_the_ones_of_all(
    own: dict[str, Any], default: dict[str, Any], expected: KeyLimits | None
) -> None:
    assert limits.effective(own, default) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"rpm": 5},
        {"requests_per_minute": -1},
        {"requests_per_minute": 1.5},
        {"requests_per_minute": True},
        {"monthly_budget_usd": "5"},
        {"monthly_budget_usd": float("inf")},
        {"monthly_budget_usd": float("nan")},
        {"addresses": ["here"]},
        {"addresses": "10.0.0.1"},
        {"addresses": ["10.0.0.1"] * 101},
    ],
)
def test_what_is_no_limit_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        limits.checked(given)


@pytest.mark.parametrize(
    ("addresses", "address", "allowed"),
    [
        ((), "192.0.2.1", True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("10.0.0.0/8",), "", False),
    ],
)
def test_a_key_is_good_from_its_addresses(addresses: tuple[str, ...], address: str, allowed: bool) -> None:
    assert KeyLimits(addresses=addresses).allows(address) is allowed


def test_the_month_ends_at_its_end() -> None:
    december = 1_735_689_599.0  # 2024-12-31 23:59:59
    assert limits.month_of(december) == "2024-12"
    assert limits.until_next_month(december) == 1
    assert limits.month_of(december + 1) == "2025-01"


STEPS = st.lists(st.floats(0, 30), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 20))
def test_no_minute_ever_holds_more_than_the_limit(steps: list[float], most: int) -> None:
    counters, wanted, now, passed = Counters(), KeyLimits(requests_per_minute=most), NOW, []
    for number, step in enumerate(steps):
        now += step
        standing = counters.admit(ticket(number, now), wanted, now)
        if standing.refusal is None:
            passed.append(now)
        else:
            later = now + (standing.retry_after or 0)
            again = counters.admit(ticket(-number, later), wanted, later)
            assert again.refusal is None, "a retry after `retry_after` passes"
            passed.append(later)
            now = later
        assert sum(at > now - 60 for at in passed) <= most


def test_what_was_set_aside_is_given_back() -> None:
    counters, wanted = Counters(), KeyLimits(tokens_per_minute=100)
    first = ticket(1, reserved=80)
    assert counters.admit(first, wanted, NOW).remaining_tokens == 20
    assert counters.admit(ticket(2, reserved=30), wanted, NOW).refusal == Refusal.TOKENS
    counters.settle(first, 10, 0, NOW)
    assert counters.admit(ticket(3, reserved=90), wanted, NOW).remaining_tokens == 0


def test_a_request_larger_than_the_limit_passes_alone() -> None:
    counters, wanted = Counters(), KeyLimits(tokens_per_minute=100)
    assert counters.admit(ticket(1, reserved=500), wanted, NOW).refusal is None
    standing = counters.admit(ticket(2, reserved=1), wanted, NOW)
    assert (standing.refusal, standing.remaining_tokens) == (Refusal.TOKENS, 0)


def test_a_place_is_free_when_its_request_has_ended() -> None:
    counters, wanted = Counters(), KeyLimits(max_concurrent=1)
    first = ticket(1)
    assert counters.admit(first, wanted, NOW).refusal is None
    assert counters.admit(ticket(2), wanted, NOW).refusal == Refusal.CONCURRENT
    counters.settle(first, 0, 0, NOW)
    assert counters.admit(ticket(3), wanted, NOW).refusal is None


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        (KeyLimits(monthly_budget_usd=0.5), Refusal.BUDGET),
        (KeyLimits(monthly_tokens=1000), Refusal.MONTHLY_TOKENS),
        (KeyLimits(monthly_budget_usd=0.51, monthly_tokens=1001), None),
    ],
)
def test_a_month_is_used_up_and_begins_anew(wanted: KeyLimits, refusal: Refusal | None) -> None:
    counters = Counters()
    month = limits.month_of(NOW)
    counters.raise_to([Spent("key", month, 400, 200_000), Spent("key", "2001-01", 9**9, 9**9)], NOW)
    counters.settle(ticket(1), 600, 300_000, NOW)
    counters.raise_to([Spent("key", month, 900, 100_000)], NOW)
    assert counters.admit(ticket(2), wanted, NOW).refusal == refusal
    later = NOW + limits.until_next_month(NOW) + 1
    assert counters.admit(ticket(3, later), wanted, later).refusal is None


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {}),
        ({"requests_per_minute": None, "addresses": None}, {}),
        (
            {"requests_per_minute": 0, "tokens_per_minute": 10**12},
            {"requests_per_minute": 0, "tokens_per_minute": 10**12},
        ),
        ({"max_concurrent": 1, "monthly_tokens": 2}, {"max_concurrent": 1, "monthly_tokens": 2}),
        ({"monthly_budget_usd": 0.5}, {"monthly_budget_usd": 0.5}),
        ({"monthly_budget_usd": 5}, {"monthly_budget_usd": 5}),
        ({"addresses": []}, {}),
        (
            {"addresses": ("10.1.2.3/8", "192.0.2.1", "2001:DB8::1/32")},
            {"addresses": ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]},
        ),
        ({"addresses": ["10.0.0.1"] * 100}, {"addresses": ["10.0.0.1/32"] * 100}),
    ],
)
def test_limits_are_stored_in_one_form(given: dict[str, Any], stored: dict[str, Any]) -> None:
    assert limits.checked(given) == stored


UNKNOWN = f"Unknown limit '{'x' * 40}'. Known: requests_per_minute, tokens_per_minute, max_concurrent, monthly_tokens,"


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"x" * 50: 5}, "limits", UNKNOWN),
        ({"monthly_tokens": -1}, "limits.monthly_tokens", "'monthly_tokens' must be a number of at least 0; 0 is no"),
        ({"max_concurrent": 10**12 + 1}, "limits.max_concurrent", "'max_concurrent' must be a number of at least 0"),
        ({"monthly_tokens": 0.5}, "limits.monthly_tokens", "'monthly_tokens' must be a number of at least 0"),
        ({"monthly_budget_usd": True}, "limits.monthly_budget_usd", "'monthly_budget_usd' must be a number of at"),
        ({"addresses": "10.0.0.1"}, "limits.addresses", "'addresses' must be a list of at most 100 addresses"),
        ({"addresses": ["::1"] * 101}, "limits.addresses", "'addresses' must be a list of at most 100 addresses"),
        ({"addresses": ["10.0.0.0/33"]}, "limits.addresses", "'addresses' accepts addresses and networks such as"),
    ],
)
def test_a_refused_limit_is_named(given: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        limits.checked(given)
    assert refusal.value.param == param
    assert refusal.value.code == ("invalid_network" if "accepts" in message else "invalid_request")
    assert refusal.value.message.startswith(message)


def test_own_addresses_replace_those_of_the_default() -> None:
    default = {"addresses": ["10.0.0.0/8"], "max_concurrent": 2}
    assert limits.effective({"addresses": ["::1/128"]}, default) == KeyLimits(max_concurrent=2, addresses=("::1/128",))
    assert limits.effective({}, default) == KeyLimits(max_concurrent=2, addresses=("10.0.0.0/8",))


def test_a_client_at_another_address_is_refused() -> None:
    bound = KeyLimits(addresses=("10.0.0.0/8", "2001:db8::/32"))
    for address in ("10.255.255.255", "2001:db8::7", "::ffff:10.0.0.1"):
        bound.require_address(address)
    for address in ("11.0.0.0", "9.255.255.255", "2001:db9::", "::ffff:11.0.0.1", "::1", "unix", ""):
        with pytest.raises(PermissionDenied) as refusal:
            bound.require_address(address)
        assert refusal.value.code == "address_not_allowed"


@pytest.mark.parametrize(
    ("moment", "month", "seconds"),
    [
        ("2024-01-01T00:00:00", "2024-01", 31 * 86400),
        ("2024-02-01T00:00:00", "2024-02", 29 * 86400),
        ("2024-11-30T23:59:59.5", "2024-11", 1),
        ("2024-12-01T12:00:00", "2024-12", 31 * 86400 - 43200),
        ("2024-12-31T23:59:58", "2024-12", 2),
    ],
)
def test_a_month_is_one_of_utc(moment: str, month: str, seconds: int) -> None:
    now = datetime.fromisoformat(f"{moment}+00:00").timestamp()
    assert (limits.month_of(now), limits.until_next_month(now)) == (month, seconds)


@pytest.mark.parametrize("step", [1, 61, 3600, 86_400])
def test_a_clock_that_was_set_back_locks_no_key_out(step: int) -> None:
    counters, one = Counters(), KeyLimits(requests_per_minute=1, tokens_per_minute=10)
    assert counters.admit(ticket(1, NOW + step, reserved=10), one, NOW + step).refusal is None
    assert counters.admit(ticket(2, NOW + step), one, NOW + step).refusal is not None
    assert counters.admit(ticket(3), one, NOW).refusal is None
