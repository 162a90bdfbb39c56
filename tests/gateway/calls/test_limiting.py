"""Keys with limits, through the real server; in one process, with a real Redis, and with one that hangs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_app.domain.traffic.claims import tokens_of
from models_app.domain.traffic.limits import Counters, KeyLimits, Refusal, Spent, Ticket, month_of
from models_app.domain.traffic.routing import hash_api_key
from models_app.gateway.calls import limiting, redis_limits
from models_app.gateway.calls.limiting import Limiter
from models_app.gateway.calls.permits import Uncountable
from models_app.gateway.calls.redis_limits import RedisCounters
from tests.fakes.upstream import USAGE, FakeUpstream
from tests.gateway.wire import KEY, Answer, Served, request, serve, snapshot, wait_until
from tests.servers.redis import RedisServer

ASK = {"model": "current", "messages": [{"role": "user", "content": "Hi"}]}
TOKENS = USAGE["prompt_tokens"] + USAGE["completion_tokens"]


def limit(gateway: Served, upstream: FakeUpstream, *, redis: Limiter | None = None, **wanted: Any) -> None:
    """Give the test's key these limits, and reset the counters, or count with the given limiter."""
    found = snapshot(upstream.path)
    digest = hash_api_key(KEY)
    entry = dataclasses.replace(found.keys[digest], limits=KeyLimits(**wanted))
    gateway.source.current = dataclasses.replace(found, keys={**found.keys, digest: entry})
    gateway.gateway.limiter = redis or Limiter()


def _on(gateway: Served, work: Coroutine[Any, Any, None]) -> None:
    asyncio.run_coroutine_threadsafe(work, gateway.loop).result(5)


def test_a_key_without_limits_hears_of_none(gateway: Served) -> None:
    assert not any("ratelimit" in name for name in gateway.post(ASK).headers)


def test_requests_beyond_the_limit_are_told_when_to_come_again(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, requests_per_minute=2)
    first, second, third = (gateway.post(ASK) for _ in range(3))
    assert (first.status, second.status, third.status) == (200, 200, 429)
    assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second)] == ["1", "0"]
    assert third.headers["x-ratelimit-limit-requests"] == "2"
    assert 1 <= int(third.headers["retry-after"]) <= 61
    assert float(third.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 61
    assert (third.code, third.json["error"]["type"]) == ("rate_limited", "rate_limit_error")
    assert len(upstream.exchanges) == 2


def test_anthropics_clients_are_told_in_their_words(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, requests_per_minute=1)
    gateway.post(ASK)
    answer = gateway.post(ASK | {"max_tokens": 5}, "/v1/messages")
    assert (answer.status, answer.json["type"]) == (429, "error")
    assert answer.json["error"]["type"] == "rate_limit_error"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"


def test_tokens_are_counted_as_they_were_used(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, tokens_per_minute=1000)
    body = ASK | {"max_tokens": 400}
    gateway.post(body)
    answer = gateway.post(body)
    # The first counts with its usage, the second with its reservation.
    left = 1000 - TOKENS - 400 - tokens_of(json.dumps(body).encode())
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(left)
    assert gateway.post(ASK | {"max_tokens": 990}).code == "rate_limited"


def test_a_key_has_so_many_requests_at_once(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, max_concurrent=1)
    upstream.script("hang", "answer")
    with gateway.wire() as wire:
        wire.send(request(ASK))
        wait_until(lambda: len(upstream.exchanges) == 1, "the first request")
        assert gateway.post(ASK).code == "rate_limited"
    wait_until(lambda: gateway.post(ASK).status == 200, "the place of the one that left")


def test_a_budget_that_is_spent_is_spent_until_the_month_ends(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, monthly_budget_usd=1.0)
    assert gateway.post(ASK).status == 200
    spent = [Spent("key-1", month_of(time.time()), 5, 1_000_000)]
    asyncio.run_coroutine_threadsafe(gateway.gateway.limiter.raise_to(spent), gateway.loop).result(5)
    answer = gateway.post(ASK)
    assert (answer.status, answer.code) == (429, "budget_exceeded")
    assert (answer.json["error"]["type"], answer.json["error"]["retryable"]) == (
        "insufficient_quota",
        False,
    )
    assert int(answer.headers["retry-after"]) > 0


def test_a_key_is_refused_from_elsewhere(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, addresses=("192.0.2.0/24",))
    answer = gateway.post(ASK)
    assert (answer.status, answer.code) == (403, "address_not_allowed")
    limit(gateway, upstream, addresses=("127.0.0.0/8",))
    assert gateway.post(ASK).status == 200


# With a real Redis.


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def _race(url: str, limits: KeyLimits, process: int, count: int, passed: Any, start: Any) -> None:
    """One of several processes with concurrent requests."""

    async def ask_all() -> int:
        # Beside other tests a process can be delayed for longer than a request should wait.
        redis_limits.TIMEOUT_SECONDS = 10.0
        counters = RedisCounters(url)
        await counters.connect()
        found = await asyncio.gather(
            *(counters.admit(Ticket("race", f"{process}-{number}", 0, 0), limits, "2026-11") for number in range(count))
        )
        await counters.close()
        return sum(standing.refusal is None for _, standing in found)

    start.wait()
    passed.put(asyncio.run(ask_all()))


def test_of_400_requests_of_8_processes_exactly_100_pass(redis: RedisServer) -> None:
    context = multiprocessing.get_context("fork")
    passed, start = context.Queue(), context.Barrier(8)
    wanted = KeyLimits(requests_per_minute=100)
    processes = [
        context.Process(target=_race, args=(redis.url(), wanted, number, 50, passed, start)) for number in range(8)
    ]
    for process in processes:
        process.start()
    counts = [passed.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    assert sum(counts) == 100, counts


def test_redis_counts_as_one_process_does(patient: None, redis: RedisServer) -> None:
    async def check() -> None:
        counters = RedisCounters(redis.url(1))
        wanted = KeyLimits(tokens_per_minute=100, max_concurrent=2, monthly_tokens=50)
        month = "2026-11"

        async def admit(number: int, reserved: int) -> tuple[Ticket, Refusal | None]:
            ticket, standing = await counters.admit(Ticket("one", str(number), reserved, 0), wanted, month)
            return ticket, standing.refusal

        first, refusal = await admit(1, 80)
        assert refusal is None
        assert (await admit(2, 30))[1] == Refusal.TOKENS
        await counters.settle(first, 10, 7, month)
        second, refusal = await admit(3, 40)
        assert refusal is None
        assert (await admit(4, 20))[1] is None
        assert (await admit(5, 1))[1] == Refusal.CONCURRENT
        await counters.settle(second, 40, 0, month)
        assert (await admit(6, 1))[1] == Refusal.MONTHLY_TOKENS
        await counters.raise_to([Spent("two", month, 50, 0)])
        _, standing = await counters.admit(Ticket("two", "7", 0, 0), wanted, month)
        assert standing.refusal == Refusal.MONTHLY_TOKENS
        await counters.close()

    asyncio.run(check())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests a process can be delayed for longer than a request should wait for Redis."""
    monkeypatch.setattr(redis_limits, "TIMEOUT_SECONDS", 10.0)


@pytest.fixture
def shared(redis: RedisServer, upstream: FakeUpstream) -> Iterator[tuple[Served, list[bool]]]:
    """A gateway that counts in Redis, and its reports about Redis."""
    told: list[bool] = []
    with serve(upstream.path) as served:
        limit(served, upstream, requests_per_minute=1000)
        served.gateway.limiter = Limiter(
            RedisCounters(redis.url(2)),
            failures=redis_limits.Failure,
            report=lambda answers, _: told.append(answers),
        )
        _on(served, served.gateway.limiter.connect())
        yield served, told


def test_a_redis_that_hangs_costs_one_request_its_time_out_and_no_request_its_answer(
    shared: tuple[Served, list[bool]], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, told = shared
    monkeypatch.setattr("models_app.gateway.calls.limiting.RETRY_SECONDS", 3600.0)
    wait_until(lambda: _remaining(gateway.post(ASK)) < 1000, "an answer of Redis")
    redis.pause()
    try:
        answers = [gateway.post(ASK) for _ in range(20)]
    finally:
        redis.resume()
    assert {answer.status for answer in answers} == {200}
    # From the first request on this process counts by itself.
    assert _remaining(answers[0]) == 999
    assert _remaining(answers[-1]) == 980
    assert told[-1] is False


def test_a_redis_that_is_back_is_asked_again(
    shared: tuple[Served, list[bool]], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, told = shared
    monkeypatch.setattr("models_app.gateway.calls.limiting.RETRY_SECONDS", 0.0)
    redis.pause()
    try:
        assert gateway.post(ASK).status == 200
    finally:
        redis.resume()
    wait_until(lambda: gateway.post(ASK).status == 200 and told[-1:] == [True], "Redis was asked")
    assert told[0] is False


def _remaining(answer: Answer) -> int:
    return int(answer.headers["x-ratelimit-remaining-requests"])


def test_many_at_once_in_one_process_pass_exactly(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, requests_per_minute=20)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: gateway.post(ASK).status, range(80)))
    assert statuses.count(200) == 20
    assert statuses.count(429) == 60


ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses", "messages", "messages/count_tokens")
NUMBERS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of")
BAD = ("2147483648", "9223372036854775808", "18446744073709551615", "1e308", "-1", '"5"', "true", "1.5", "NaN")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_number_out_of_range_is_refused_and_counts_nowhere(
    patient: None, shared: tuple[Served, list[bool]], upstream: FakeUpstream, endpoint: str
) -> None:
    gateway, told = shared
    limit(gateway, upstream, redis=gateway.gateway.limiter, requests_per_minute=1000, tokens_per_minute=10**6)
    wait_until(lambda: _remaining(gateway.post(ASK)) < 1000, "an answer of Redis")
    before = _remaining(gateway.post(ASK))
    for name in NUMBERS:
        for value in BAD:
            body = f'{{"model": "current", "messages": [], "{name}": {value}}}'.encode()
            answer = gateway.post(body, f"/v1/{endpoint}")
            error = answer.json["error"]
            # No JSON has NaN.
            assert (answer.status, error.get("param", name)) == (400, None if value == "NaN" else name), (name, value)
    assert _remaining(gateway.post(ASK)) == before - 1
    assert told == []


def test_a_number_that_redis_refuses_is_refused_alone(
    patient: None, shared: tuple[Served, list[bool]], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of NOA, not an outage: the limits of all other requests stay where they are counted."""
    gateway, told = shared
    wait_until(lambda: _remaining(gateway.post(ASK)) < 1000, "an answer of Redis")
    before = _remaining(gateway.post(ASK))
    whole = limiting._ticket
    for wrong in (2**64 - 1, -1, 1.5, "many"):
        monkeypatch.setattr(
            limiting, "_ticket", lambda *given, value=wrong: dataclasses.replace(whole(*given), reserved=value)
        )
        answer = gateway.post(ASK)
        assert (answer.status, answer.code) == (500, "limits_failed")
    monkeypatch.setattr(limiting, "_ticket", whole)
    assert _remaining(gateway.post(ASK)) == before - 1
    assert told == []


@pytest.mark.parametrize(
    "field", ["request_id", "reserved", "held", "held_micro"], ids=["id", "tokens", "month", "dollars"]
)
@pytest.mark.parametrize("value", [2**64 - 1, -1, 1.5])
def test_redis_changes_nothing_for_numbers_that_it_refuses(
    patient: None, redis: RedisServer, field: str, value: Any
) -> None:
    async def check() -> None:
        counters = RedisCounters(redis.url(3))
        await counters.connect()
        wanted = KeyLimits(10, 1000, 3, 1000, 1.0)
        good = Ticket("atomic", "good", 5, 0, 5, 5)
        bad = dataclasses.replace(good, **{field: value})
        if field == "request_id":
            await counters.admit(good, wanted, "2026-11")
            before = redis.ask("HGETALL", "noa:limits:{atomic}:requests")
            with pytest.raises(Uncountable):
                await counters.settle(good, value, 1, "2026-11")
        else:
            before = redis.ask("HGETALL", "noa:limits:{atomic}:requests")
            with pytest.raises(Uncountable):
                await counters.admit(bad, wanted, "2026-11")
        assert redis.ask("HGETALL", "noa:limits:{atomic}:requests") == before
        assert redis.ask("HGETALL", "noa:limits:{atomic}:2026-11") == b"*0\r\n"
        await counters.close()

    redis.ask("FLUSHALL")
    asyncio.run(check())


STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "settle", "again"]), st.integers(0, 5), st.integers(0, 60), st.integers(0, 60)),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_redis_sets_aside_what_one_process_does(
    patient: None, redis: RedisServer, steps: list[tuple[str, int, int, int]]
) -> None:
    wanted = KeyLimits(max_concurrent=4, monthly_tokens=200, monthly_budget_usd=150 / 1e6)

    async def check() -> None:
        shared, local, month = RedisCounters(redis.url(4)), Counters(), month_of(time.time())
        await shared.connect()
        open_tickets: dict[int, Ticket] = {}
        for kind, number, tokens, micro in steps:
            if kind == "settle" and number in open_tickets:
                ticket = open_tickets.pop(number)
                await shared.settle(ticket, tokens, micro, month)
                local.settle(ticket, tokens, micro, time.time())
            elif kind == "again" or number not in open_tickets:
                # The same request again: what was set aside for it is replaced, not added.
                ticket = Ticket("pair", str(number), 0, int(time.time()), tokens, micro)
                counted, standing = await shared.admit(ticket, wanted, month)
                assert standing.refusal == local.admit(ticket, wanted, time.time()).refusal
                if standing.refusal is None:
                    open_tickets[number] = counted
        await shared.close()

    redis.ask("FLUSHALL")
    asyncio.run(check())


def test_what_a_dead_process_has_set_aside_is_free_after_its_lease(patient: None, redis: RedisServer) -> None:
    wanted = KeyLimits(monthly_tokens=100)

    async def check() -> None:
        counters, month = RedisCounters(redis.url(5)), month_of(time.time())
        await counters.connect()
        ticket, _ = await counters.admit(Ticket("dead", "1", 0, 0, held=100), wanted, month)
        _, standing = await counters.admit(Ticket("dead", "2", 0, 0, held=5), wanted, month)
        assert standing.refusal == Refusal.SET_ASIDE
        # Its lease has ended, as if a minute had passed without a renewal.
        await counters._redis.zadd("noa:limits:{dead}:active", {"1": time.time() - 1}, xx=True)
        _, standing = await counters.admit(Ticket("dead", "3", 0, 0, held=5), wanted, month)
        assert standing.refusal is None
        # It was only slow: its usage counts, and what the third request holds stays held.
        await counters.settle(ticket, 60, 0, month)
        assert await counters._redis.hmget("noa:limits:{dead}:held", "tokens", "1tokens") == ["5", None]
        await counters.close()

    redis.ask("FLUSHALL")
    asyncio.run(check())


def test_what_is_set_aside_of_a_month_is_available_again_at_once(gateway: Served, upstream: FakeUpstream) -> None:
    limit(gateway, upstream, monthly_tokens=400)
    upstream.script("hang")
    with gateway.wire() as wire:
        wire.send(request(ASK | {"max_tokens": 500}))
        upstream.wait_for_exchange()
        answer = gateway.post(ASK | {"max_tokens": 5})
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "rate_limited", "1")
        assert answer.json["error"]["retryable"]
    key = gateway.gateway.limiter._local._keys["key-1"]
    wait_until(lambda: key.held == 0, "the first request to be settled")
    assert key.month_tokens == 500 + tokens_of(json.dumps(ASK | {"max_tokens": 500}).encode())
    assert gateway.post(ASK | {"max_tokens": 5}).code == "budget_exceeded"
