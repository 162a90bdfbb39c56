"""Everything at once: steady traffic, swaps, and one part after the other stopped, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import pytest

from tests.chaos.conftest import Figures
from tests.journeys.traffic import Traffic
from tests.servers.stack import EMBER, TIDE, Stack
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]
STREAMS = 2


@dataclass
class Plan:
    """The schedule, in seconds from the start; each entry once."""

    began: float = field(default_factory=monotonic)
    tries: int = 0
    swaps: int = 0

    def follow(self, stack: Stack, *, seconds: float, swap_every: float) -> None:
        blows = [
            (0.25 * seconds, stack.redis.restart),
            (0.5 * seconds, lambda: restart_postgres(stack)),
            (0.75 * seconds, lambda: restart_worker(stack)),
        ]
        next_swap = swap_every
        waiting = threading.Event()
        while (now := monotonic() - self.began) < seconds:
            if blows and now >= blows[0][0]:
                blows.pop(0)[1]()
            elif now >= next_swap:
                next_swap += swap_every
                self._swap(stack)
            waiting.wait(0.05)
        assert blows == []

    def _swap(self, stack: Stack) -> None:
        key = (TIDE, EMBER)[self.tries % 2]
        self.tries += 1
        status, job = stack.server.api("POST", "/api/v1/models/switch?wait=60", {"key": key})
        # Right after a fault the API can answer 503; the test continues.
        self.swaps += status == 200 and job["state"] == "succeeded"


def restart_postgres(stack: Stack) -> None:
    stack.postgres.kill()
    stack.postgres.start()


def restart_worker(stack: Stack) -> None:
    stack.worker.kill()
    stack.worker.start()


def test_a_storm_fails_no_request_and_loses_no_row(stack: Stack, figures: Figures, times: Times) -> None:
    seconds, swap_every = times(12, 600), times(3, 10)
    plan = Plan()
    with Traffic(stack.server, clients=14, streams=STREAMS, name="storm", per_second=times(60, 200)) as traffic:
        plan.follow(stack, seconds=seconds, swap_every=swap_every)
    # A stream ends with its runner, and a killed worker's runners end with it, as documented.
    cut = [failure for failure in traffic.failures if "cut: " in failure]
    failed = [failure for failure in traffic.failures if failure not in cut]
    sent = traffic.answered + len(traffic.failures)
    rows = "SELECT count(*) FROM models_app_accesslog WHERE client_request_id = 'storm'"
    until(lambda: stack.count(rows) >= sent, "every request had its row", 60)
    stored = stack.count(rows)
    for name, value, bound in (
        ("failed requests", len(failed), 0),
        ("cut streams", len(cut), STREAMS),
        ("lost access records", sent - stored, 0),
    ):
        figures.record(f"storm: {name}", value, bound=bound, count=sent, unit="")
    rate = sent / seconds
    figures.record("storm: requests a second", rate, bound=200, count=sent, unit="1/s")
    figures.record("storm: swaps", plan.swaps, bound=seconds / swap_every, count=1, unit="")
    assert failed == [], stack.story()
    assert len(cut) <= STREAMS
    assert stored == sent
    assert plan.swaps > 0
