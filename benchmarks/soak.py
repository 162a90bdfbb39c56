"""A soak test of memory and descriptors: many requests to a remote model, a third of them cancelled in mid-stream.

    python benchmarks/soak.py [--requests 20000]

Starts the tests' fake provider as its own process, and the gateway with its HTTP server in this one; the client
is a few threads here too. Prints resident memory, descriptors and tasks as it goes, and fails when they grow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CLIENTS = 8
STEPS = 20
# The model whose streams are cancelled, and its endpoint.
CUT = "openai:gpt-3.5-turbo-instruct"
CUT_PATH = "/v1/completions"
# Memory that Python's allocator keeps between two samples, measured on runs without leaks.
MEMORY_SLACK_MB = 8.0


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def start_provider() -> tuple[subprocess.Popen[str], str]:
    """The process, and the base URL that it prints."""
    command = [sys.executable, "-m", "tests.fakes.openai_server"]
    # It logs every client that disconnects.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def script_hangs(base_url: str, count: int) -> None:
    """Every stream of completions stops after its first event, until its client disconnects."""
    order = {"script": ["hang_after_headers"] * count, "path": CUT_PATH}
    address = base_url.removesuffix("/v1") + "/_script"
    urllib.request.urlopen(address, json.dumps(order).encode()).close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    count = parser.parse_args().requests
    process, base_url = start_provider()
    try:
        soak(base_url, count)
    finally:
        process.terminate()
        process.wait(20)


def soak(base_url: str, count: int) -> None:
    from models_app.domain.provider_kinds import ProviderKind
    from models_app.domain.traffic.routing import RemoteEndpoint
    from tests.fakes.openai_server import FakeOpenAI
    from tests.gateway.remotes import CHAT, GPT, entry, serve_remote
    from tests.gateway.wire import Served, request

    remote = RemoteEndpoint(
        provider="openai",
        kind=ProviderKind.OPENAI,
        base_url=base_url,
        model_id="gpt-4o",
        api_key=FakeOpenAI.default_key,
        allow_private=True,
    )

    def one(served: Served, number: int) -> None:
        kind = number % 3
        with served.wire() as wire:
            if kind == 2:
                body = {"model": CUT, "stream": True, "prompt": "Say hello."}
                wire.send(request(body, CUT_PATH)).until(b"data: ")  # and disconnects
            else:
                wire.send(request({"model": GPT, "stream": kind == 1, **CHAT}))
                assert wire.answer().status == 200

    script_hangs(base_url, count // 3 + 1)
    models = [entry(key, replace(remote, model_id=key.partition(":")[2])) for key in (GPT, CUT)]
    with serve_remote(*models) as served, ThreadPoolExecutor(CLIENTS) as clients:
        first = None
        for step in range(STEPS):
            numbers = range(count // STEPS)
            list(clients.map(lambda number: one(served, number), numbers))
            served.records()
            served.stored.clear()
            gc.collect()
            tasks = asyncio.run_coroutine_threadsafe(_tasks(), served.loop).result(10)
            now = (resident_mb(), descriptors(), tasks)
            print(
                f"{(step + 1) * len(numbers):>7,} requests: {now[0]:6.1f} MB, {now[1]} descriptors, {now[2]} tasks",
                flush=True,
            )
            # The first steps fill caches and pools.
            if step == STEPS // 4:
                first = now
    assert first is not None
    grown = now[0] - first[0]
    if grown > MEMORY_SLACK_MB or now[1] > first[1] + 2 * CLIENTS:
        raise SystemExit(f"it grew by {grown:.1f} MB and {now[1] - first[1]} descriptors")
    print(f"flat: {grown:+.1f} MB, {now[1] - first[1]:+d} descriptors")


async def _tasks() -> int:
    return len(asyncio.all_tasks())


if __name__ == "__main__":
    main()
