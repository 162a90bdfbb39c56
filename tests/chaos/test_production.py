"""PostgreSQL, Redis, two web processes and a worker: outages of parts do not affect inference."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest
from django.db.migrations.loader import MigrationLoader

from tests.chaos.conftest import IS_FULL, Figures
from tests.journeys.traffic import Traffic
from tests.servers.stack import EMBER, TIDE, Stack
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]


def flows(traffic: Traffic, requests: int = 40) -> None:
    """Wait until `count` more requests are answered."""
    before = traffic.answered
    until(lambda: traffic.answered >= before + requests or traffic.failures, "traffic flowed", 60)


def test_postgres_restarted_and_hung_costs_no_request(stack: Stack, figures: Figures) -> None:
    with Traffic(stack.server, clients=4, name="postgres") as traffic:
        flows(traffic)
        stack.postgres.kill()
        flows(traffic)
        assert stack.server.api("GET", "/api/v1/models")[0] == 503
        stack.postgres.start()
        flows(traffic)
        stack.postgres.pause()
        flows(traffic)
        stack.postgres.resume()
        flows(traffic)
    assert traffic.failures == []
    figures.record("failed /v1 requests, PostgreSQL away", 0, bound=0, count=traffic.answered, unit="")
    until(lambda: stack.server.api("GET", "/api/v1/models")[0] == 200, "the API was back")
    rows = "SELECT count(*) FROM models_app_accesslog WHERE client_request_id = 'postgres'"
    until(lambda: stack.count(rows) >= traffic.answered, "every request had its row", 60)
    assert stack.count(rows) == traffic.answered


def test_redis_away_delays_a_job_by_seconds_and_nothing_else(stack: Stack, figures: Figures, times: Times) -> None:
    """F20: down, hung, reset repeatedly; the worker recovers by itself."""
    took: list[float] = []

    def switch() -> None:
        began = monotonic()
        stack.switch(TIDE if len(took) % 2 == 0 else EMBER)
        took.append(monotonic() - began)

    with Traffic(stack.server, clients=2) as traffic:
        for _ in range(times(1, 25)):
            stack.redis.kill()
            switch()
            stack.redis.start()
            switch()
            stack.redis.pause()
            switch()
            stack.redis.resume()
            for _ in range(3):
                stack.redis.restart()
            switch()
    received = stack.messages_received()
    switch()
    until(lambda: stack.messages_received() > received, "the worker consumed messages again", 60)
    assert traffic.failures == []
    figures.record("job done while or after the broker is away", max(took), bound=10, count=len(took))


def test_connections_are_bounded_however_many_streams_are_open(stack: Stack, figures: Figures, times: Times) -> None:
    """F19: a stream holds no connection."""
    bound = 3 * (10 + 1) + 5
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'noa' AND application_name = 'noa'"
    most = 0
    with Traffic(stack.server, clients=2, streams=times(20, 200)) as traffic:
        for _ in range(times(5, 100)):
            flows(traffic, 10)
            stack.server.api("GET", "/api/v1/models")
            most = max(most, stack.count(sql))
    assert traffic.failures == []
    assert most <= bound
    figures.record("connections to PostgreSQL", most, bound=bound, count=traffic.answered, unit="")


@pytest.mark.skipif(not IS_FULL, reason="the storm kills a worker too")
def test_a_killed_worker_is_waited_for(stack: Stack, figures: Figures) -> None:
    with Traffic(stack.server, clients=2) as traffic:
        flows(traffic)
        stack.worker.kill()
        began = monotonic()
        stack.worker.start()
        flows(traffic, 20)
        figures.record("serving again after a worker was killed", monotonic() - began, bound=10, count=1)
    assert traffic.failures == []


@pytest.mark.skipif(not IS_FULL, reason="it takes as long as all others together")
def test_a_migration_back_and_forth_costs_no_request(stack: Stack, figures: Figures) -> None:
    """F38: the migrations of an earlier or later version, while this one serves."""
    *_, before, newest = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == "models_app")
    with Traffic(stack.server, clients=2) as traffic:
        flows(traffic)
        began = monotonic()
        for target in (before, newest):
            stack.manage("migrate", "models_app", target)
            flows(traffic)
        figures.record("a migration back and forth", monotonic() - began, bound=60, count=1)
    assert traffic.failures == []
    assert stack.server.api("GET", "/api/v1/models")[0] == 200
