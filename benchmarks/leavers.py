"""How far clients that leave every answer before its usage exceed the limits of their key.

    python benchmarks/leavers.py [--clients 1000] [--at-once 32]

For each endpoint, limit and place where a client leaves: the requests that reached the provider, and the tokens that
it has spent above the limit, in requests. The goal is one request at most. Once with one gateway, and once with two
that count in one Redis, which needs `redis-server`. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models_app.gateway.calls import redis_limits  # noqa: E402
from models_app.gateway.calls.limiting import Limiter  # noqa: E402
from models_app.gateway.calls.redis_limits import RedisCounters  # noqa: E402
from tests.fakes.token_server import TokenServer  # noqa: E402
from tests.gateway import leavers  # noqa: E402
from tests.gateway.leavers import ANTHROPIC, LIMITS, ONE, OPENAI, PLACES, Way  # noqa: E402
from tests.gateway.wire import Served  # noqa: E402
from tests.servers.redis import RedisServer  # noqa: E402

GOAL = 1.0
ENDPOINTS = ("chat/completions", "completions", "embeddings", "messages", "responses")


def ways() -> Iterator[Way]:
    for endpoint in ENDPOINTS:
        streams = (False,) if endpoint == "embeddings" else (False, True)
        models = (OPENAI,) if endpoint in ("completions", "embeddings") else (OPENAI, ANTHROPIC)
        for model in models:
            for stream in streams:
                for place in PLACES if stream else PLACES[:1]:
                    yield Way(endpoint, model, place, stream)


@contextlib.contextmanager
def limiters(shape: str) -> Iterator[Sequence[Limiter]]:
    if shape == "one gateway":
        yield [Limiter()]
        return
    # On a busy machine a process can be delayed for longer than a request should wait.
    redis_limits.TIMEOUT_SECONDS = 10.0
    with RedisServer() as redis:
        yield [Limiter(RedisCounters(redis.url()), failures=redis_limits.Failure) for _ in range(2)]


def measure(shape: str, clients: int, at_once: int) -> Iterator[dict[str, Any]]:
    with TokenServer() as server, limiters(shape) as counting, leavers.gateways(server, counting) as served:
        for way in ways():
            for name in LIMITS:
                yield _one(served, server, way, name, clients, at_once) | {"processes": shape}


def _one(
    served: Sequence[Served], server: TokenServer, way: Way, name: str, clients: int, at_once: int
) -> dict[str, Any]:
    limits = LIMITS[name]
    started = time.monotonic()
    spent = leavers.storm(served, server, way, limits, clients=clients, at_once=at_once)
    return {
        "endpoint": way.endpoint,
        "provider": way.model.partition(":")[0],
        "stream": way.stream,
        "place": way.place,
        "limit": name,
        "clients": clients,
        "passed": server.requests,
        "overspent_requests": round(leavers.overspent(spent, limits) / ONE, 2),
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=32)
    given = parser.parse_args()
    rows = []
    for shape in ("one gateway", "two with Redis"):
        for row in measure(shape, given.clients, given.at_once):
            rows.append(row)
            kind = "stream" if row["stream"] else "whole"
            about = f"{shape:15} {row['endpoint']:17} {row['provider']:10} {kind:7} {row['place']:20} {row['limit']:19}"
            print(f"{about} passed {row['passed']:4}, overspent {row['overspent_requests']:6}", flush=True)
    worst = max(row["overspent_requests"] for row in rows)
    print(f"\nThe most above a limit: {worst} requests (goal: at most {GOAL:g}).")
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    (folder / "leavers.json").write_text(json.dumps({"most_overspent_requests": worst, "rows": rows}, indent=2))
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
