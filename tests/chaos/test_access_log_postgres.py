"""The access log while PostgreSQL is down, hung and slow, beside failing providers: no row lost, no request waits."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import psutil
import pytest

from tests.chaos.asking import Asking
from tests.chaos.conftest import Figures
from tests.chaos.percentiles import percentile
from tests.servers.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]
_MIB = 2**20
# Four pools of ten (two web processes, the main process, a worker), and a connection of each process for LISTEN.
CONNECTIONS = 45


@pytest.fixture(autouse=True)
def knows_current(stack: Stack) -> None:
    """Waits until every web process applies the switch."""
    with Asking(stack.server, clients=4, name="first", good=(200, 503)) as first:
        asked_for(first, 1)
    stack.until_current_answers()


def asked_for(asking: Asking, seconds: float) -> None:
    """Waits `seconds` while traffic continues."""
    end = monotonic() + seconds
    before = len(asking.answered)
    until(lambda: monotonic() > end and len(asking.answered) > before, "requests were answered", seconds + 60)


def check_rows(stack: Stack, asking: Asking) -> None:
    """Each answered request has one row."""
    ours = f"FROM models_app_accesslog WHERE client_request_id LIKE '{asking.name}-%'"
    until(lambda: stack.count(f"SELECT count(*) {ours}") >= len(asking.answered), "the rows came", 60)
    assert stack.count(f"SELECT count(*) {ours}") == len(asking.answered)
    assert stack.count(f"SELECT count(DISTINCT client_request_id) {ours}") == len(asking.answered)


def p99(asking: Asking, since: int = 0) -> float:
    return percentile(list(asking.answered.values())[since:], 0.99)


def test_an_outage_loses_no_row_and_is_felt_by_no_request(stack: Stack, figures: Figures, times: Times) -> None:
    """F17 and F18: the database killed and started again, and frozen."""
    with Asking(stack.server, clients=8, per_second=times(40, 200), name="out") as asking:
        asked_for(asking, times(2, 10))
        normal, before = p99(asking), len(asking.answered)
        stack.postgres.kill()
        asked_for(asking, times(3, 60))
        stack.postgres.start()
        asked_for(asking, times(1, 5))
        down, before = p99(asking, before), len(asking.answered)
        stack.postgres.pause()
        asked_for(asking, times(4, 30))
        hung = p99(asking, before)
        stack.postgres.resume()
    assert asking.cut == {}
    check_rows(stack, asking)
    count = len(asking.answered)
    figures.record("F17/F18 failed requests", len(asking.cut), bound=0, count=count, unit="")
    figures.record("F17/F18 rows lost or doubled", 0, bound=0, count=count, unit="rows")
    figures.record("F17 p99, database down", down, bound=normal + 0.05, count=count)
    figures.record("F18 p99, database hung", hung, bound=normal + 0.05, count=count)


def test_streams_hold_no_connection(stack: Stack, figures: Figures, times: Times) -> None:
    """F19: more streams than all pools together have connections."""
    most = 0
    with Asking(stack.server, clients=0, streams=times(60, 200), name="many") as asking:
        for _ in range(times(8, 200)):
            before = len(asking.answered)
            until(lambda before=before: len(asking.answered) > before, "a stream ended", 60)  # type: ignore[misc]
            most = max(most, stack.count("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    assert asking.cut == {}
    assert most <= CONNECTIONS
    assert "too many clients" not in stack.story()
    figures.record("F19 connections with streams open", most, bound=CONNECTIONS, count=len(asking.answered), unit="")
    check_rows(stack, asking)


def test_three_things_away_at_once_cost_neither_memory_nor_time(stack: Stack, figures: Figures, times: Times) -> None:
    """F39: the provider refuses, Redis and PostgreSQL hang. Local models answer as before."""
    stack.until_current_answers()
    with Asking(stack.server, clients=4, per_second=40, name="calm") as calm:
        asked_for(calm, times(2, 10))
    before = resident(stack)
    stack.redis.pause()
    stack.postgres.pause()
    try:
        with (
            Asking(stack.server, clients=4, per_second=40, name="three") as asking,
            Asking(stack.server, clients=2, per_second=20, name="no", model="openai:no", good=(404, 503)) as failing,
        ):
            asked_for(asking, times(3, 60))
        grown = resident(stack) - before
    finally:
        stack.postgres.resume()
        stack.redis.resume()
    assert asking.cut == failing.cut == {}
    assert grown <= 64 * _MIB
    figures.record("F39 growth of memory", grown / _MIB, bound=64, count=len(asking.answered), unit="MiB")
    figures.record("F39 p99", p99(asking), bound=3 * p99(calm), count=len(asking.answered))
    check_rows(stack, asking)
    check_rows(stack, failing)


def resident(stack: Stack) -> int:
    """Bytes of the server's processes that are not runners'."""
    main = psutil.Process(stack.server.process.pid)
    every = [main, *main.children(recursive=True)]
    return sum(one.memory_info().rss for one in every if "runner" not in " ".join(one.cmdline()))


def test_the_report_says_that_nothing_is_missing(stack: Stack) -> None:
    def complete() -> bool:
        status, report = stack.server.api("GET", "/api/v1/access-report")
        return status == 200 and report["complete"] and not any(one["waiting"] for one in report["processes"])

    until(complete, "the report was complete", 30)
    _, report = stack.server.api("GET", "/api/v1/access-report")
    for one in report["processes"]:
        assert one["rows"] == one["stored"] + one["cut_off"]
        assert one["stored"] == one["recorded"]
    total = stack.count("SELECT count(*) FROM models_app_accesslog")
    assert total == sum(one["rows"] for one in report["processes"])
