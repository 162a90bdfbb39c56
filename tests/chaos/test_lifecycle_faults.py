"""Loads, unloads and switches under traffic, at once, and with changed files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import openai
import psutil
import pytest

from tests.chaos.asking import Asking
from tests.chaos.conftest import Figures
from tests.fakes.gguf_files import write_random_gguf, write_tiny_gguf
from tests.journeys.server import NoaServer
from tests.journeys.test_hot_swap import KEYS, Traffic, speaker
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
Times = Callable[[int, int], int]
MIB = 1 << 20


def switch(server: NoaServer, key: str) -> tuple[int, Any]:
    return server.api("POST", "/api/v1/models/switch?wait=60", {"key": key})


def current(server: NoaServer) -> str:
    return str(server.api("GET", "/api/v1/models/current")[1]["model"]["key"])


def other(server: NoaServer) -> str:
    return KEYS[1 - KEYS.index(current(server))]


def _has_answers(traffic: Traffic, count: int) -> bool:
    return len(traffic.answers) >= count


def test_f1_swaps_under_eight_clients_fail_mix_and_cut_nothing(own_server: Own, figures: Figures, times: Times) -> None:
    server = own_server().start()
    swaps, requests = times(4, 50), times(40, 1000)
    traffic = Traffic(server)
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(traffic.sync_client, number) for number in range(6)]
        clients.append(pool.submit(traffic.async_clients))
        try:
            for number in range(swaps):
                status, job = switch(server, other(server))
                assert (status, job["result"]["mode"]) == (200, "overlap"), job
                enough = requests * (number + 1) // swaps
                until(partial(_has_answers, traffic, enough), "traffic went on", 60)
        finally:
            traffic.stop.set()
        for client in clients:
            client.result()
    mixed = [text for _, _, text, model, _ in traffic.answers if speaker(text) != model]
    cut = [text for *_, text, _, reason in traffic.answers if reason not in ("stop", "length")]
    count = len(traffic.answers)
    figures.record("F1 failed", len(traffic.failures), bound=0, count=count, unit="requests")
    figures.record("F1 mixed", len(mixed), bound=0, count=count, unit="requests")
    figures.record("F1 cut", len(cut), bound=0, count=count, unit="requests")
    figures.record("F1 swaps", swaps, bound=50, count=count, unit="swaps")
    assert (traffic.failures, mixed, cut) == ([], [], [])


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NoaServer, Path]]:
    """A server with a small model that is current, and a folder for more."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_gguf(folder / "good.gguf", name="good")
    environment = {"NOA_MODELS_DIR": str(folder), "NOA_DEMO_MODELS": "false"}
    server = NoaServer(tmp_path_factory.mktemp("odd") / "data", environment=environment).start()
    if server.api("GET", "/api/v1/models/current")[1]["model"] is None:
        status, job = switch(server, "llama.cpp:good")
        assert status == 200, job
    yield server, folder
    server.kill()


def test_f2_switches_to_what_cannot_be_loaded_fail_no_request(
    odd_files: tuple[NoaServer, Path], figures: Figures, times: Times
) -> None:
    server, folder = odd_files
    for name in ("gone", "torn"):
        write_tiny_gguf(folder / f"{name}.gguf", name=name, seed=len(name))
    write_random_gguf(folder / "large.gguf", name="large", megabytes=5, context=4_000_000)
    assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    server.api("PATCH", "/api/v1/models/llama.cpp:large", {"load_options": {"n_ctx": 4_000_000}})
    (folder / "gone.gguf").unlink()
    os.truncate(folder / "torn.gguf", 100_000)
    tries = times(6, 20)
    with Asking(server, clients=4, streams=4, name="f2") as asking:
        until(lambda: len(asking.answered) > 5, "traffic flowed")
        for number in range(tries):
            status, answer = switch(server, f"llama.cpp:{('gone', 'torn', 'large')[number % 3]}")
            assert status in (404, 409, 422, 502, 507), answer
            assert "still leads to llama.cpp:good" in answer["error"]["message"], answer
        before = len(asking.answered)
        until(lambda: len(asking.answered) > before + 8, "traffic went on")
    figures.record("F2 failed", len(asking.cut), bound=0, count=tries, unit="requests")
    assert asking.cut == {}
    assert current(server) == "llama.cpp:good"
    _, answer = server.api("GET", "/api/v1/models/llama.cpp:large/history")
    assert any(entry["kind"] == "switch" for entry in answer["history"])


def test_f3_a_stream_that_is_open_at_a_switch_comes_to_its_end(
    odd_files: tuple[NoaServer, Path], figures: Figures, times: Times
) -> None:
    server, folder = odd_files
    write_tiny_gguf(folder / "long.gguf", name="long", context=8192, ends=False)
    assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    assert switch(server, "llama.cpp:long")[0] == 200
    free = psutil.virtual_memory().available
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0)
    stream = client.completions.create(
        model="current", prompt="Once", max_tokens=times(800, 4000), stream=True, temperature=0
    )
    chunks = iter(stream)
    first = next(chunks)
    moved = threading.Thread(target=switch, args=(server, "llama.cpp:good"))
    moved.start()
    until(lambda: current(server) == "llama.cpp:good", "the route has moved")
    rest = list(chunks)
    moved.join()
    assert rest[-1].choices[0].finish_reason == "length"
    assert {one.system_fingerprint for one in rest} == {first.system_fingerprint}
    lost = max(0.0, 1 - psutil.virtual_memory().available / free)
    figures.record("F3 memory that did not come back", lost, bound=0.05, count=1, unit="share")
    settled(server)


def test_f5_many_load_and_unload_one_model_at_once(
    odd_files: tuple[NoaServer, Path], figures: Figures, times: Times
) -> None:
    server, folder = odd_files
    write_tiny_gguf(folder / "busy.gguf", name="busy", seed=3)
    assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    body, turns = {"key": "llama.cpp:busy"}, times(4, 64)
    broken: list[Any] = []

    def work(number: int) -> None:
        for turn in range(turns):
            verb = "load" if (turn + number) % 2 else "unload"
            status, answer = server.api("POST", f"/api/v1/models/{verb}?wait=60", body)
            # Concurrent operations can make it a conflict, but not an internal error.
            if status >= 500 and answer["error"]["code"] != "load_cancelled":
                broken.append(answer)

    began = monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = monotonic() - began
    figures.record("F5 time", seconds, bound=300, count=32 * turns)
    figures.record("F5 broken answers", len(broken), bound=0, count=32 * turns, unit="answers")
    assert broken == []
    settled(server)


def settled(server: NoaServer) -> None:
    """The loaded models of the API are the running processes, and no others."""

    def agrees() -> bool:
        _, loaded = server.api("GET", "/api/v1/models/loaded")
        states = {one["state"] for one in loaded["instances"]}
        return states <= {"ready"} and set(server.runner_pids()) == runners(server)

    until(agrees, "the table of processes is that of instances")


def runners(server: NoaServer) -> set[int]:
    found = psutil.Process(server.process.pid).children(recursive=True)
    return {
        one.pid
        for one in found
        if one.status() != psutil.STATUS_ZOMBIE and "models_app.engines.runner" in one.cmdline()
    }


def test_f25_what_cannot_fit_is_refused_at_once_and_starts_nothing(
    odd_files: tuple[NoaServer, Path], figures: Figures, times: Times
) -> None:
    server, folder = odd_files
    write_random_gguf(folder / "wide.gguf", name="wide", megabytes=20)
    assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    body = {"key": "llama.cpp:wide", "options": {"n_ctx": 4_000_000}}
    before, slowest, tries = runners(server), 0.0, times(5, 50)
    for _ in range(tries):
        began = monotonic()
        status, answer = server.api("POST", "/api/v1/models/load", body)
        slowest = max(slowest, monotonic() - began)
        assert (status, answer["error"]["code"]) == (507, "insufficient_memory")
    assert runners(server) == before
    details = answer["error"]["details"]
    assert details["needed_bytes"] > details["free_bytes"]
    assert 0 < details["largest_context"] < 4_000_000
    figures.record("F25 slowest refusal", slowest, bound=0.2, count=tries)


def test_f27_a_file_that_is_replaced_under_its_model_is_served_as_it_was(
    odd_files: tuple[NoaServer, Path],
) -> None:
    server, folder = odd_files
    _, before = server.api("GET", "/api/v1/models/llama.cpp:good")
    with Asking(server, clients=2, name="f27") as asking:
        write_tiny_gguf(folder / "new", name="good", seed=5)
        (folder / "new").rename(folder / "good.gguf")
        seen = len(asking.answered)
        until(lambda: len(asking.answered) > seen + 8, "the loaded model went on answering")
        assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    assert asking.cut == {}
    _, found = server.api("GET", "/api/v1/events?name=model-updated")
    assert any(event["subject"] == "llama.cpp:good" for event in found["events"])
    assert server.api("POST", "/api/v1/models/unload?wait=60", {"key": "llama.cpp:good"})[0] == 200
    assert server.api("POST", "/api/v1/models/load?wait=60", {"key": "llama.cpp:good"})[0] == 200
    _, loaded = server.api("GET", "/api/v1/models/loaded")
    _, after = server.api("GET", "/api/v1/models/llama.cpp:good")
    assert after["version"]["sha256"] != before["version"]["sha256"]
    assert loaded["instances"][0]["fingerprint"].startswith(after["version"]["sha256"][:12])
