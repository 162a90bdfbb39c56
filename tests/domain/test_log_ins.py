"""How long a log-in waits after failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain import log_ins
from models_app.domain.addresses import network_of
from models_app.domain.log_ins import ALLOWED, WINDOW_SECONDS, Kind, Tally

kinds = st.sampled_from(list(Kind))
ages = st.floats(min_value=0, max_value=2 * WINDOW_SECONDS, allow_nan=False)


@given(kinds, st.integers(0, 10**9), ages)
def test_the_wait_is_bounded_and_a_wait_always_ends(kind: Kind, failures: int, age: float) -> None:
    wait = log_ins.wait_seconds(kind, Tally(failures, age))
    assert 0 <= wait <= WINDOW_SECONDS
    assert log_ins.wait_seconds(kind, Tally(failures, age + wait + 0.001)) == 0


@given(kinds, st.integers(0, 1000), ages)
def test_more_failures_never_shorten_the_wait(kind: Kind, failures: int, age: float) -> None:
    assert log_ins.wait_seconds(kind, Tally(failures + 1, age)) >= log_ins.wait_seconds(kind, Tally(failures, age))


@pytest.mark.parametrize("kind", list(Kind))
def test_the_first_failures_cost_no_wait(kind: Kind) -> None:
    assert log_ins.wait_seconds(kind, Tally(ALLOWED[kind] - 1, 0.0)) == 0
    assert log_ins.wait_seconds(kind, Tally(ALLOWED[kind], 0.0)) > 0


def test_the_wait_of_one_user_and_address_doubles() -> None:
    waits = [log_ins.wait_seconds(Kind.PAIR, Tally(5 + more, 0.0)) for more in range(6)]
    assert waits == [60, 120, 240, 480, 900, 900]


@given(st.integers(0, 10**6), st.integers(0, 10**6), ages)
def test_failures_elsewhere_never_stop_a_user_at_a_known_address(users: int, addresses: int, age: float) -> None:
    tallies = {Kind.PAIR: Tally(), Kind.USER: Tally(users, age), Kind.ADDRESS: Tally(addresses, age)}
    assert log_ins.longest_wait(tallies, is_known=True)[0] == 0


@given(st.integers(0, 10**6), ages)
def test_one_user_is_slowed_down_by_other_addresses_but_not_locked(failures: int, age: float) -> None:
    tallies = {Kind.PAIR: Tally(), Kind.USER: Tally(failures, age), Kind.ADDRESS: Tally()}
    assert log_ins.longest_wait(tallies, is_known=False)[0] <= 30


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_attacker_cannot_change_the_address_within_a_network(address: str, network: str) -> None:
    assert network_of(address) == network
