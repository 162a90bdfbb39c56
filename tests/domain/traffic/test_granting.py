"""What a key can give: nothing that it does not have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.scopes import Scope, allows, may_use
from models_app.domain.traffic.granting import UNBOUNDED, Bounds, excess
from models_app.domain.traffic.limits import COUNTED, KeyLimits

NOW = datetime(2026, 11, 30, tzinfo=UTC)
NAMES = ("current", "openai:*", "openai:gpt", "llama.cpp:a", "anthropic:*")
NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1/128")
ADDRESSES = ("10.0.0.1", "10.1.0.1", "10.1.2.3", "192.0.2.9", "2001:db8::1", "2001:db8::2", "203.0.113.1", "::1")
REQUESTED = ("current", "other", "openai:gpt", "openai:mini", "llama.cpp:a", "llama.cpp:b", "anthropic:x")

number = st.none() | st.integers(1, 4)
bounds = st.builds(
    Bounds,
    scopes=st.frozensets(st.sampled_from([scope.value for scope in Scope]), min_size=1),
    allowed_models=st.frozensets(st.sampled_from(NAMES), max_size=3),
    limits=st.builds(
        KeyLimits,
        **dict.fromkeys(COUNTED, number),
        addresses=st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True).map(tuple),
    ),
    expires_at=st.none() | st.integers(0, 3).map(lambda days: NOW + timedelta(days=days)),
    load_on_demand=st.booleans(),
    may_evict=st.booleans(),
)


@given(wanted=bounds, held=bounds)
def test_what_is_given_allows_nothing_more(wanted: Bounds, held: Bounds) -> None:
    """Compared by what each allows, not by how it is written."""
    if excess(wanted, held) is not None:
        return
    for scope in Scope:
        assert allows(held.scopes, scope) or not allows(wanted.scopes, scope)
    for name in REQUESTED:
        assert may_use(held.allowed_models, name) or not may_use(wanted.allowed_models, name)
    for address in ADDRESSES:
        assert held.limits.allows(address) or not wanted.limits.allows(address)
    for limit in COUNTED:
        most = getattr(held.limits, limit)
        assert most is None or getattr(wanted.limits, limit) <= most
    assert held.expires_at is None or (wanted.expires_at and wanted.expires_at <= held.expires_at)
    assert held.load_on_demand or not wanted.load_on_demand
    assert held.may_evict or not wanted.may_evict


@given(held=bounds)
def test_everyone_can_give_what_they_have(held: Bounds) -> None:
    assert excess(held, held) is None
    assert excess(held, UNBOUNDED) is None


ADMIN = Bounds(frozenset({Scope.ADMIN}))


@pytest.mark.parametrize(
    ("held", "field"),
    [
        ({"scopes": frozenset({"read", "infer", "operate"})}, "scopes"),
        ({"allowed_models": frozenset({"current"})}, "allowed_models"),
        ({"limits": KeyLimits(addresses=("10.0.0.0/8",))}, "limits.addresses"),
        ({"limits": KeyLimits(monthly_budget_usd=5.0)}, "limits.monthly_budget_usd"),
        ({"expires_at": NOW}, "expires_at"),
        ({"load_on_demand": False}, "load_on_demand"),
        ({"may_evict": False}, "may_evict"),
    ],
)
def test_the_field_that_allows_more_is_named(held: dict[str, Any], field: str) -> None:
    assert excess(ADMIN, replace(ADMIN, **held)) == field


def limited(name: str, most: Any) -> dict[str, Any]:
    return {"limits": KeyLimits(**{name: most})}


@pytest.mark.parametrize(
    ("wanted", "held", "field"),
    [
        ({"scopes": frozenset({"read"})}, {"scopes": frozenset({"operate"})}, None),
        ({"scopes": frozenset({"operate"})}, {"scopes": frozenset({"read"})}, "scopes"),
        ({"scopes": frozenset({"infer", "read"})}, {"scopes": frozenset({"infer"})}, "scopes"),
        ({"allowed_models": frozenset({"p:a"})}, {"allowed_models": frozenset({"p:*"})}, None),
        ({"allowed_models": frozenset({"p:a", "q:a"})}, {"allowed_models": frozenset({"p:*"})}, "allowed_models"),
        ({"allowed_models": frozenset({"p:a"})}, {}, None),
        *(
            (limited(name, wanted), limited(name, 5), field)
            for name in COUNTED
            for wanted, field in ((4, None), (5, None), (6, f"limits.{name}"), (None, f"limits.{name}"))
        ),
        ({"limits": KeyLimits(max_concurrent=6)}, {}, None),
        ({"expires_at": NOW - timedelta(seconds=1)}, {"expires_at": NOW}, None),
        ({"expires_at": NOW}, {"expires_at": NOW}, None),
        ({"expires_at": NOW + timedelta(seconds=1)}, {"expires_at": NOW}, "expires_at"),
        ({"load_on_demand": False}, {"load_on_demand": False}, None),
        ({"may_evict": False}, {"may_evict": False}, None),
        ({"load_on_demand": False}, {}, None),
        ({"may_evict": False}, {}, None),
    ],
)
def test_each_right_is_compared_at_its_boundary(
    wanted: dict[str, Any], held: dict[str, Any], field: str | None
) -> None:
    assert excess(replace(ADMIN, **wanted), replace(ADMIN, **held)) == field


@pytest.mark.parametrize(
    ("wanted", "held", "within"),
    [
        (("10.1.0.0/16",), ("10.0.0.0/8",), True),
        (("10.0.0.0/8",), ("10.0.0.0/8",), True),
        (("10.0.0.0/8",), ("10.1.0.0/16",), False),
        (("2001:db8::1/128",), ("2001:db8::/32",), True),
        (("2001:db9::/32",), ("2001:db8::/32",), False),
        (("10.0.0.1/32",), ("2001:db8::/32",), False),
        (("2001:db8::/32",), ("10.0.0.0/8",), False),
        (("::/0",), ("0.0.0.0/0",), False),
        (("10.1.2.3/32", "192.0.2.1/32"), ("192.0.2.0/24", "10.0.0.0/8"), True),
        (("10.1.2.3/32", "192.0.3.1/32"), ("192.0.2.0/24", "10.0.0.0/8"), False),
        ((), ("10.0.0.0/8",), False),
        (("10.0.0.0/8",), (), True),
        ((), (), True),
    ],
)
def test_networks_are_within_those_that_contain_them(
    wanted: tuple[str, ...], held: tuple[str, ...], within: bool
) -> None:
    pair = (replace(ADMIN, limits=KeyLimits(addresses=addresses)) for addresses in (wanted, held))
    assert excess(*pair) == (None if within else "limits.addresses")
