"""More models than fit: which are loaded, which requests wait, and that none is starved."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.chaos.conftest import IS_FULL, Figures
from tests.chaos.percentiles import percentile
from tests.fakes.gguf_files import write_tiny_gguf
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
KEYS = ("llama.cpp:a", "llama.cpp:b", "llama.cpp:c")
Walk = Callable[[int, int], str]


def serve(own_server: Own, folder: Path, *, models: int, places: int) -> NoaServer:
    """A server with fake runners and tiny models, of which a limited number fits in memory."""
    folder.mkdir()
    for number, name in enumerate("abc"[:models]):
        write_tiny_gguf(folder / f"{name}.gguf", name=name, seed=number)
    return own_server(
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.chaos.fake_runner_settings",
            "NOA_TEST_RUNNER": "--behaviour good",
            "NOA_MODELS_DIR": str(folder),
            "NOA_DEMO_MODELS": "false",
            "NOA_MAX_LOADED_MODELS": str(places),
            "NOA_MIN_RESIDENCY": "2",
        }
    ).start()


class Clients:
    """Send requests without a pause, one thread per client, to the model `walk(client, turn)`."""

    def __init__(self, server: NoaServer, *, count: int, turns: int | None, walk: Walk) -> None:
        self._server, self._turns, self._walk = server, turns, walk
        self.stop = threading.Event()
        self.waits: dict[str, list[float]] = {key: [] for key in KEYS}
        self.failures: list[Any] = []
        self._threads = [threading.Thread(target=self._request, args=(number,), daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _request(self, number: int) -> None:
        turn = 0
        while not self.stop.is_set() and (self._turns is None or turn < self._turns):
            key = self._walk(number, turn)
            turn += 1
            body = {"model": key, "messages": [{"role": "user", "content": f"{number} {turn}"}]}
            began = monotonic()
            status, answer = self._server.api("POST", "/v1/chat/completions", body)
            if status == 200:
                self.waits[key].append(monotonic() - began)
            else:
                self.failures.append((status, answer))

    def join(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a client still waits"


def loads(server: NoaServer) -> Counter[str]:
    """How often each model was loaded."""
    found: Counter[str] = Counter()
    for key in KEYS:
        status, answer = server.api("GET", f"/api/v1/models/{key}/instances")
        if status == 200:
            found[key] = sum(1 for one in answer["instances"] if one["ready_at"])
    return found


def test_f7_three_models_with_room_for_two_asked_in_turn(own_server: Own, tmp_path: Path, figures: Figures) -> None:
    """300 requests, a, b, c, a …, from twelve clients at once."""
    server = serve(own_server, tmp_path / "files", models=3, places=2)
    clients = Clients(server, count=12, turns=25, walk=lambda number, turn: KEYS[number % 3])
    clients.join(120)
    assert clients.failures == []
    assert [len(clients.waits[key]) for key in KEYS] == [100, 100, 100]
    made = sum(loads(server).values())
    # Each has to be loaded once, whatever the order.
    figures.record("F7 loads over the optimum", made / len(KEYS), bound=1.2, count=300, unit="")
    slowest = max(max(clients.waits[key]) for key in KEYS)
    figures.record("F7 longest wait", slowest, bound=30.0, count=300)
    assert made / len(KEYS) <= 1.2, loads(server)


@pytest.mark.skipif(not IS_FULL, reason="a turn takes longer than a whole quick run")
def test_two_models_with_one_place_both_get_their_turn(own_server: Own, tmp_path: Path, figures: Figures) -> None:
    """Both get requests without a pause: neither starves, and they are not swapped for each request."""
    server = serve(own_server, tmp_path / "files", models=2, places=1)
    clients = Clients(server, count=8, turns=None, walk=lambda number, turn: KEYS[number % 2])
    until(lambda: sum(loads(server).values()) >= 5, "the place had changed hands often", 200)
    clients.stop.set()
    clients.join(120)
    assert clients.failures == []
    served = [len(clients.waits[key]) for key in KEYS[:2]]
    share = max(served) / sum(served)
    figures.record("share of who is served more", share, bound=0.8, count=sum(served), unit="")
    per_load = 100 * sum(loads(server).values()) / sum(served)
    figures.record("loads for 100 requests", per_load, bound=10, count=sum(served), unit="")
    longest = max(percentile(clients.waits[key], 1.0) for key in KEYS[:2])
    figures.record("longest wait for a turn", longest, bound=60.0, count=sum(served))
    assert min(served) > 0


@pytest.mark.skipif(not IS_FULL, reason="its figure is of interest, and no promise")
def test_f7_clients_that_walk_from_model_to_model(own_server: Own, tmp_path: Path, figures: Figures) -> None:
    """All end up waiting for the same model, of which the least recently used is always the next: the worst case."""
    server = serve(own_server, tmp_path / "files", models=3, places=2)
    clients = Clients(server, count=12, turns=25, walk=lambda number, turn: KEYS[(number + turn) % 3])
    clients.join(250)
    assert clients.failures == []
    assert sum(len(waits) for waits in clients.waits.values()) == 300
    # The optimum (Belady) loads for every second step: of three in turn, two are loaded.
    optimum = 2 + (25 - 2) / 2
    made = sum(loads(server).values())
    figures.record("F7 loads over the optimum, lockstep", made / optimum, bound=1.2, count=300, unit="")
