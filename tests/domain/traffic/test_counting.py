"""What a store of counts returns for each request: refusals, the rest, and the time until a retry."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.traffic import limits
from models_app.domain.traffic.limits import MICRO, MOST, Counters, KeyLimits, Refusal, Spent, Standing, Ticket, Window

# Half a second after a whole one; 12 h after the beginning of a month.
START = 1_698_840_000
NOW = START + 0.5
MONTH = "2023-11"


def ticket(name: str, now: float = NOW, *, reserved: int = 0, held: int = 0, held_micro: int = 0) -> Ticket:
    return Ticket("key", name, reserved, int(now), held, held_micro)


def outcome(standing: Standing) -> tuple[Refusal | None, float | None]:
    return standing.refusal, standing.retry_after


def test_requests_are_counted_down_and_come_back_after_a_minute() -> None:
    counters, wanted = Counters(), KeyLimits(requests_per_minute=2)
    first = counters.admit(ticket("a"), wanted, NOW)
    assert first == Standing(remaining_requests=1, reset_requests=60.5)
    second = counters.admit(ticket("b", NOW + 10), wanted, NOW + 10)
    assert second == Standing(remaining_requests=0, reset_requests=60.5)
    refused = counters.admit(ticket("c", NOW + 11), wanted, NOW + 11)
    assert refused == Standing(Refusal.REQUESTS, 49.5, remaining_requests=0, reset_requests=59.5)
    # The second of the first request has left the window of sixty whole seconds.
    assert outcome(counters.admit(ticket("d", NOW + 60), wanted, NOW + 60)) == (Refusal.REQUESTS, 0.5)
    assert outcome(counters.admit(ticket("e", NOW + 60.5), wanted, NOW + 60.5)) == (None, None)


def test_a_limit_that_was_lowered_waits_for_all_that_is_too_much() -> None:
    counters = Counters()
    for second in range(3):
        counters.admit(ticket(f"a{second}", NOW + second), KeyLimits(requests_per_minute=9), NOW + second)
    lowered = counters.admit(ticket("b", NOW + 3), KeyLimits(requests_per_minute=1), NOW + 3)
    assert lowered == Standing(Refusal.REQUESTS, 59.5, remaining_requests=0, reset_requests=59.5 - 1 + 1)


def test_tokens_are_set_aside_and_replaced_by_those_that_were_used() -> None:
    counters, wanted = Counters(), KeyLimits(tokens_per_minute=100)
    first = ticket("a", reserved=60)
    assert counters.admit(first, wanted, NOW) == Standing(remaining_tokens=40, reset_tokens=60.5)
    exact = ticket("b", NOW + 5, reserved=40)
    assert counters.admit(exact, wanted, NOW + 5) == Standing(remaining_tokens=0, reset_tokens=60.5)
    refused = counters.admit(ticket("c", NOW + 6, reserved=70), wanted, NOW + 6)
    assert refused == Standing(Refusal.TOKENS, 59.5, remaining_tokens=0, reset_tokens=59.5)
    counters.settle(first, 10, 0, NOW + 7)
    assert counters.admit(ticket("d", NOW + 8, reserved=51), wanted, NOW + 8).refusal is Refusal.TOKENS
    assert counters.admit(ticket("e", NOW + 8, reserved=50), wanted, NOW + 8).remaining_tokens == 0


def test_the_retry_of_a_request_waits_for_as_many_tokens_as_it_reserves() -> None:
    counters, wanted = Counters(), KeyLimits(tokens_per_minute=100)
    for second in range(4):
        counters.admit(ticket(f"a{second}", NOW + second, reserved=25), wanted, NOW + second)
    for reserved, seconds in ((1, 57.0), (25, 57.0), (26, 58.0), (50, 58.0), (75, 59.0), (100, 60.0), (10**6, 60.0)):
        refused = counters.admit(ticket("b", NOW + 4, reserved=reserved), wanted, NOW + 4)
        assert outcome(refused) == (Refusal.TOKENS, seconds - 0.5)


def test_tokens_that_were_set_aside_more_than_a_minute_ago_are_not_given_back() -> None:
    wanted = KeyLimits(tokens_per_minute=100)
    for late, remaining in ((60, 90), (61, 100)):
        counters = Counters()
        first = ticket("a", reserved=60)
        counters.admit(first, wanted, NOW)
        counters.settle(first, 10, 0, NOW + late)
        assert counters.admit(ticket("b", NOW + late), wanted, NOW + late).remaining_tokens == remaining


def test_a_long_request_that_used_more_than_it_reserved_does_not_count_in_a_later_minute() -> None:
    counters, wanted, first = Counters(), KeyLimits(tokens_per_minute=100), ticket("a", reserved=1)
    counters.admit(first, wanted, NOW)
    counters.settle(first, 10**6, 0, NOW + 300)
    assert counters.admit(ticket("b", NOW + 300, reserved=5), wanted, NOW + 300).remaining_tokens == 95


def test_a_refused_request_is_not_counted() -> None:
    counters, wanted = Counters(), KeyLimits(max_concurrent=1, requests_per_minute=9, tokens_per_minute=100)
    counters.admit(ticket("a", reserved=10, held=5, held_micro=5), wanted, NOW)
    refused = counters.admit(ticket("b", reserved=10, held=5, held_micro=5), wanted, NOW)
    assert outcome(refused) == (Refusal.CONCURRENT, 1.0)
    assert (refused.remaining_requests, refused.remaining_tokens) == (8, 90)
    assert (refused.reset_requests, refused.reset_tokens) == (60.5, 60.5)


def test_as_many_requests_run_at_once_as_the_limit_says() -> None:
    counters, wanted = Counters(), KeyLimits(max_concurrent=2)
    for name in ("a", "b"):
        assert outcome(counters.admit(ticket(name), wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("c"), wanted, NOW)) == (Refusal.CONCURRENT, 1.0)
    counters.settle(ticket("b"), 0, 0, NOW)
    counters.settle(ticket("b"), 0, 0, NOW)
    assert outcome(counters.admit(ticket("c"), wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("d"), wanted, NOW)) == (Refusal.CONCURRENT, 1.0)


def test_a_key_does_not_use_the_limits_of_another() -> None:
    counters, wanted = Counters(), KeyLimits(requests_per_minute=1)
    assert counters.admit(Ticket("one", "a", 0, START), wanted, NOW).refusal is None
    assert counters.admit(Ticket("two", "b", 0, START), wanted, NOW).refusal is None
    assert counters.admit(Ticket("one", "c", 0, START), wanted, NOW).refusal is Refusal.REQUESTS


MONTHS: list[tuple[KeyLimits, dict[str, int], Refusal]] = [
    (KeyLimits(monthly_tokens=1000), {"tokens": 1000}, Refusal.MONTHLY_TOKENS),
    (KeyLimits(monthly_budget_usd=0.5), {"micro_usd": MICRO // 2}, Refusal.BUDGET),
    # Rounded to a millionth of a dollar.
    (KeyLimits(monthly_budget_usd=0.0000017), {"micro_usd": 2}, Refusal.BUDGET),
]


@pytest.mark.parametrize(("wanted", "full", "refusal"), MONTHS)
def test_a_month_is_used_up_at_its_limit(wanted: KeyLimits, full: dict[str, int], refusal: Refusal) -> None:
    ((name, most),) = full.items()
    for used, expected in ((most - 1, None), (most, refusal)):
        counters = Counters()
        counters.settle(ticket("a"), **({"tokens": 0, "micro_usd": 0} | {name: used}), now=NOW)
        refused = counters.admit(ticket("b"), wanted, NOW)
        seconds = limits.until_next_month(NOW)
        assert outcome(refused) == ((expected, float(seconds)) if expected else (None, None))


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (KeyLimits(monthly_tokens=1000), {"held": 1}),
        (KeyLimits(monthly_budget_usd=0.001), {"held_micro": 1}),
    ],
)
def test_what_runs_sets_aside_a_part_of_the_month(wanted: KeyLimits, held: dict[str, int]) -> None:
    counters = Counters()
    ((name, _),) = held.items()
    first = ticket("a", **{name: 999})
    assert outcome(counters.admit(first, wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("b", **held), wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("c", **held), wanted, NOW)) == (Refusal.SET_ASIDE, 1.0)
    # What was set aside is free when the request ends, once.
    counters.settle(first, 0, 0, NOW)
    counters.settle(first, 0, 0, NOW)
    assert outcome(counters.admit(ticket("d", **{name: 998}), wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("e", **held), wanted, NOW)) == (None, None)
    assert outcome(counters.admit(ticket("f", **held), wanted, NOW)) == (Refusal.SET_ASIDE, 1.0)


def test_used_and_set_aside_tokens_of_a_month_are_added_up() -> None:
    counters, wanted = Counters(), KeyLimits(monthly_tokens=10, monthly_budget_usd=1.0)
    counters.settle(ticket("a"), 4, 0, NOW)
    assert counters.admit(ticket("b", held=6), wanted, NOW).refusal is None
    assert counters.admit(ticket("c"), wanted, NOW).refusal is Refusal.SET_ASIDE
    counters = Counters()
    counters.settle(ticket("a"), 0, 400_000, NOW)
    assert counters.admit(ticket("b", held_micro=600_000), wanted, NOW).refusal is None
    assert counters.admit(ticket("c"), wanted, NOW).refusal is Refusal.SET_ASIDE


def test_a_request_that_is_admitted_again_is_set_aside_once() -> None:
    counters, wanted = Counters(), KeyLimits(monthly_tokens=1000, max_concurrent=2)
    for _ in range(5):
        assert counters.admit(ticket("a", held=400), wanted, NOW).refusal is None
    assert counters.admit(ticket("b", held=400), wanted, NOW).refusal is None
    assert counters.admit(ticket("c"), wanted, NOW).refusal is Refusal.CONCURRENT


def test_a_month_is_raised_to_its_sums_and_never_lowered() -> None:
    def refusal(*spent: Spent, wanted: KeyLimits) -> Refusal | None:
        counters = Counters()
        counters.settle(ticket("a"), 500, 500, NOW)
        counters.raise_to(spent, NOW)
        return counters.admit(ticket("b"), wanted, NOW).refusal

    tokens, dollars = KeyLimits(monthly_tokens=1000), KeyLimits(monthly_budget_usd=0.001)
    assert refusal(Spent("key", MONTH, 1000, 0), wanted=tokens) is Refusal.MONTHLY_TOKENS
    assert refusal(Spent("key", MONTH, 999, 0), wanted=tokens) is None
    assert refusal(Spent("key", MONTH, 0, 1000), wanted=dollars) is Refusal.BUDGET
    assert refusal(Spent("key", MONTH, 0, 999), wanted=dollars) is None
    assert refusal(Spent("key", "2023-10", 9999, 9999), wanted=tokens) is None
    assert refusal(Spent("other", MONTH, 9999, 9999), wanted=dollars) is None
    assert refusal(Spent("key", MONTH, 0, 0), wanted=KeyLimits(monthly_tokens=500)) is Refusal.MONTHLY_TOKENS
    assert refusal(Spent("key", MONTH, 0, 0), wanted=KeyLimits(monthly_budget_usd=0.0005)) is Refusal.BUDGET


def test_a_new_month_begins_with_nothing_used() -> None:
    counters = Counters()
    wanted = KeyLimits(monthly_tokens=10, monthly_budget_usd=0.00001)
    counters.settle(ticket("a"), 10, 10, NOW)
    later = NOW + limits.until_next_month(NOW)
    assert counters.admit(ticket("b", later), wanted, later - 1).refusal is Refusal.MONTHLY_TOKENS
    assert counters.admit(ticket("b", later), wanted, later + 1).refusal is None
    counters.settle(ticket("c", later), 3, 0, later + 1)
    assert counters.admit(ticket("d", later), KeyLimits(monthly_tokens=3), later + 1).refusal is Refusal.MONTHLY_TOKENS


def test_no_count_grows_beyond_what_every_store_holds() -> None:
    counters = Counters()
    for _ in range(3):
        counters.settle(ticket("a"), MOST - 1, MOST - 1, NOW)
    key = counters._keys["key"]
    assert (key.month_tokens, key.month_micro) == (MOST, MOST)


def test_a_window_forgets_what_is_older_than_sixty_whole_seconds() -> None:
    window = Window()
    for second, count in ((100, 1), (101, 2), (160, 4)):
        window.add(second, count)
    assert [window.total(second) for second in (160, 161, 162, 220, 221)] == [7, 6, 4, 4, 0]
    assert window.seconds == {}


def test_a_window_counts_no_less_than_nothing() -> None:
    window = Window()
    window.add(100, 5)
    window.add(100, 2)
    window.add(100, -9)
    assert window.total(100) == 0
    window.add(100, 3)
    assert window.total(100) == 3


@pytest.mark.parametrize(
    ("excess", "now", "seconds"),
    [(1, 102.5, 58.5), (2, 102.5, 58.5), (3, 102.5, 59.5), (5, 102.5, 59.5), (6, 102.5, 1.0), (1, 161.0, 0.001)],
)
def test_a_window_is_free_when_enough_of_it_has_left(excess: int, now: float, seconds: float) -> None:
    assert Window({101: 3, 100: 2}).free_in(now, excess) == seconds


@pytest.mark.parametrize(("now", "seconds"), [(102.5, 59.5), (162.0, 0.0), (170.0, 0.0)])
def test_a_window_is_empty_when_its_last_second_has_left(now: float, seconds: float) -> None:
    assert Window({101: 3, 100: 2}).empty_in(now) == seconds
    assert Window().empty_in(now) == 0.0


@pytest.mark.parametrize(
    ("given", "counts", "counts_months"),
    [
        ({}, False, False),
        ({"addresses": ("10.0.0.0/8",)}, False, False),
        ({"requests_per_minute": 1}, True, False),
        ({"tokens_per_minute": 1}, True, False),
        ({"max_concurrent": 1}, True, False),
        ({"monthly_tokens": 1}, True, True),
        ({"monthly_budget_usd": 0.5}, True, True),
    ],
)
def test_addresses_need_no_counting(given: dict[str, Any], counts: bool, counts_months: bool) -> None:
    found = KeyLimits(**given)
    assert (found.counts, found.counts_months) == (counts, counts_months)
