"""Scaling with web processes: requests per second, propagation time of a switch, and database connections.

    python benchmarks/scale.py [--seconds 5] [--rounds 3] [--switches 200] [--processes 4]

Needs PostgreSQL's and Redis' programs, `wrk` and `cc`. Requests go through whole servers on PostgreSQL to an upstream
that answers at once; load generator, upstream, PostgreSQL and server share the processors, so only the ratio is
meaningful. The switch is measured from its commit to the moment at which a process serves from a snapshot with it.
Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gateway import WRK  # noqa: E402
from tests.journeys.server import NoaServer  # noqa: E402
from tests.servers.postgres import PostgresServer  # noqa: E402
from tests.servers.stack import DATABASE  # noqa: E402

CONNECTIONS = 32
GOAL_MS = 50.0
BODY = json.dumps({"model": "current", "messages": [{"role": "user", "content": "Say something."}]})


# Requests a second


@contextmanager
def upstream(folder: Path) -> Iterator[Path]:
    """A runner that answers at once; see benchmarks/upstream.c."""
    program, address = folder / "upstream", folder / "runner.sock"
    subprocess.run(["cc", "-O2", "-o", program, ROOT / "benchmarks/upstream.c"], check=True)
    process = subprocess.Popen([program, "0", address])
    try:
        while not address.exists():
            time.sleep(0.02)
        yield address
    finally:
        process.terminate()
        process.wait()


def point_current_to(address: Path) -> None:
    """As if a worker had loaded a model whose runner listens there. No worker runs that could detect it."""
    from models_app.domain.states import InstanceState, ModelStatus
    from models_app.models import Instance, RegisteredModel, Route
    from models_app.services.catalog import lookup
    from models_app.services.routes import routing

    model = RegisteredModel.objects.create(
        provider=lookup.local_provider(),
        model_id="bench",
        key="llama.cpp:bench",
        name="Bench",
        status=ModelStatus.LOADED,
        capability_index=",chat_completion,",
        context_window=4096,
    )
    Instance.objects.create(model=model, node="local", state=InstanceState.READY, socket=str(address))
    Route.objects.filter(name="current").update(target=model)
    routing.bump()


def requests_per_second(server: NoaServer, folder: Path, seconds: int) -> tuple[float, list[int]]:
    """And how many of the connections each web process had."""
    script = folder / "load.lua"
    script.write_text(WRK.format(key=server.api_key, body=BODY))
    command = f"wrk -t1 -c{CONNECTIONS} -d{seconds}s --timeout 10s -s {script} {server.url}"
    load = subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(seconds / 2)
    children = psutil.Process(server.process.pid).children() or [psutil.Process(server.process.pid)]
    shares = [established(one, server.port) for one in children]
    result = json.loads(load.communicate()[1].decode().strip().splitlines()[-1])
    if result["errors"]:
        raise SystemExit(f"{result['errors']} of {result['requests']} requests failed")
    return result["requests"] / result["seconds"], sorted(shares)


def established(process: psutil.Process, port: int) -> int:
    found = process.net_connections("tcp")
    return sum(one.status == "ESTABLISHED" and one.laddr.port == port for one in found)


def throughput(postgres: PostgresServer, folder: Path, address: Path, options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    samples: dict[int, list[float]] = {1: [], 2: []}
    for number in range(options.rounds):
        for count in samples:
            server = NoaServer(folder / "data", arguments=["--workers", str(count)], api_key=found.get("key", ""))
            server.start()
            if "key" not in found:
                found["key"] = server.api_key
                point_current_to(address)
            requests_per_second(server, folder, 2)
            rate, shares = requests_per_second(server, folder, options.seconds)
            samples[count].append(rate)
            used = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'noa'")
            found[f"shares_{count}"], found[f"database_connections_{count}"] = shares, used[0][0]
            server.stop(signal.SIGTERM)
        print(f"round {number + 1} of {options.rounds} done", flush=True)
    del found["key"]
    found |= {f"requests_per_second_{count}": statistics.median(rates) for count, rates in samples.items()}
    found["ratio"] = found["requests_per_second_2"] / found["requests_per_second_1"]
    return found


# How fast a switch arrives


def follow() -> None:
    """A process with a web process's snapshot refresh; prints each revision and when it was served."""
    import django

    django.setup()
    from models_app.gateway.site.snapshots import LiveSnapshots
    from models_app.services.coordination.notifications import follower

    snapshots = LiveSnapshots()
    snapshots.listener = lambda: print(snapshots.current.revision, time.time_ns(), flush=True)
    snapshots.start()
    follower.start()
    sys.stdin.read()
    follower.stop()
    snapshots.stop()


def propagation(environment: dict[str, str], processes: int, switches: int) -> dict[str, float]:
    """Milliseconds from a commit until the last, and until any, process serves from it."""
    environment = os.environ | environment | {"NOA_WEB_PROCESSES": str(processes)}
    followers = [
        subprocess.Popen(
            [sys.executable, __file__, "--follow"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for one in followers:
        assert one.stdout is not None
        one.stdout.readline()
    time.sleep(1)
    switcher = subprocess.run(
        [sys.executable, __file__, "--switch", str(switches)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    time.sleep(2)
    pairs = (line.split() for line in switcher.stdout.splitlines())
    committed = {int(first): int(second) for first, second in pairs}
    late: list[float] = []
    for one in followers:
        seen = [tuple(map(int, line.split())) for line in one.communicate("")[0].splitlines()]
        for revision, at in committed.items():
            # A revision that arrived with the next counts from its own commit.
            late.append(min(t for r, t in seen if r >= revision) / 1e6 - at / 1e6)
    late.sort()
    return {
        "p50_ms": statistics.median(late),
        "p99_ms": late[int(0.99 * len(late))],
        "max_ms": late[-1],
    }


def switch(count: int) -> None:
    import django

    django.setup()
    from django.db import transaction

    from models_app.services.routes import routing

    for _ in range(count):
        with transaction.atomic():
            routing.bump()
        committed = time.time_ns()
        print(routing.revision(), committed, flush=True)
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--switches", type=int, default=200)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--switch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")
    if options.follow:
        follow()
    elif options.switch:
        switch(options.switch)
    else:
        with tempfile.TemporaryDirectory(prefix="noa-") as name, PostgresServer() as postgres:
            report(Path(name), postgres, options)


def report(folder: Path, postgres: PostgresServer, options: Any) -> None:
    # No worker and so no broker is needed here.
    shared = {
        "DATABASE_URL": postgres.create(DATABASE),
        "NOA_BROKER_URL": "redis://127.0.0.1:1/0",
        "NOA_DATA_DIR": str(folder / "data"),
    }
    os.environ |= shared
    import django

    django.setup()
    with upstream(folder) as address:
        found = throughput(postgres, folder, address, options)
    found["switch_postgres"] = propagation({}, options.processes, options.switches)
    sqlite = {"DATABASE_URL": "", "NOA_DATA_DIR": str(folder / "sqlite")}
    subprocess.run([sys.executable, ROOT / "manage.py", "migrate", "-v0"], env=os.environ | sqlite, check=True)
    found["switch_sqlite"] = propagation(sqlite, options.processes, options.switches)
    print(json.dumps(found, indent=2))
    for shape in ("postgres", "sqlite"):
        p99 = found[f"switch_{shape}"]["p99_ms"]
        print(f"switch, {shape}: p99 {p99:.1f} ms (goal <= {GOAL_MS:g}): {'met' if p99 <= GOAL_MS else 'MISSED'}")
    target = ROOT / "benchmarks/results/scale.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
