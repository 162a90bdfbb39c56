"""The cost of the access log: the record of a request, rows per second, and reads of a log of 10,000,000 rows.

    python benchmarks/accesslog.py [--rows 10000000] [--stored 20000]

Each measurement runs in its own process on its own database: SQLite, and PostgreSQL where its programs are
installed. Results go to benchmarks/results/accesslog.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MODELS, ROUTES, KEYS, DAYS = 10, 3, 50, 30
ROUNDS = 20
GOALS = {
    "record, µs of CPU in the request": 30.0,
    "live metrics, 1h, ms": 50.0,
    "live metrics, 1d, ms": 50.0,
    "page, newest, ms": 50.0,
    "page, one model, ms": 50.0,
    "page, one key, ms": 50.0,
    "page, a day back, ms": 50.0,
    "retention of a day, ms": 1_000.0,
}


def records(count: int, first: int = 0) -> list[Any]:
    from models_app.domain.records.access import AccessRecord

    chance, now = random.Random(first), time.time()
    return [
        AccessRecord(
            f"0123456789abcdef-{first + number:x}",
            now - chance.random() * 60,
            "chat/completions",
            key_id=f"k{chance.randrange(KEYS)}",
            requested_model="current",
            route=f"r{chance.randrange(ROUTES)}",
            model_key=f"openai:m{chance.randrange(MODELS)}",
            instance_id="0b9e0d4a-3a37-4a55-9a0e-5c2f1f6f8a10",
            version="3a1b9c0f72de",
            node="local",
            stream=True,
            status=200,
            prompt_tokens=38,
            cached_tokens=12,
            completion_tokens=23,
            cost_usd=0.00042,
            provider="openai",
            ttft_ms=chance.expovariate(0.02),
            duration_ms=200 + chance.expovariate(0.005),
            attempts=1,
            client="127.0.0.1",
            client_request_id=f"c{number}",
        )
        for number in range(count)
    ]


def measure_record(count: int) -> dict[str, float]:
    """CPU time of one request's mark and record, and of the thread that reads them back."""
    from models_app.gateway.recording.recorder import Recorder

    batch = records(count)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(lambda found: None)
        recorder.open(Path(folder), node="bench")
        whole, mine, wall = time.process_time(), time.thread_time(), time.perf_counter()
        for record in batch:
            recorder.begin(record, requested_model="current", route="r1", model_key="openai:m1")
            recorder.record(record)
        mine, wall = time.thread_time() - mine, time.perf_counter() - wall
        recorder.flush(60)
        whole = time.process_time() - whole
        recorder.close()
    return {
        "record, µs of CPU in the request": mine / count * 1e6,
        "record, µs of CPU to read it back": (whole - mine) / count * 1e6,
    }


def store(count: int) -> None:
    """Runs in a process with its own database: prints rows per second and CPU per row."""
    _setup()
    from models_app.services.access_log import store as access

    batches = [records(500, first) for first in range(0, count, 500)]
    access.store(records(500, 10**9))
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        access.store(batch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"rows a second": count / wall, "µs of CPU a row": cpu / count * 1e6}))


def big(rows: int) -> None:
    """Runs in a process with an empty PostgreSQL: fills it, queries it, and prints the durations."""
    _setup()
    from django.db import connection

    _fill_log(rows)
    _fill_sums()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    print(json.dumps({"rows": float(rows)} | _timings()))


def _setup() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _fill_log(rows: int) -> None:
    from django.db import connection, transaction

    from models_app.services.rollups import partitions, rollups

    today = datetime.now(UTC).date()
    with transaction.atomic():
        rollups.lock()
        partitions.ensure(today - timedelta(days=ago) for ago in range(DAYS + 1))
    with connection.cursor() as cursor:
        # Oldest first, so that ids grow with time as in production.
        cursor.execute(
            "INSERT INTO models_app_accesslog (request_id, started_at, endpoint, key_id, requested_model, route,"
            " model_key, instance_id, version, node, stream, status, error_code, prompt_tokens, completion_tokens,"
            " cost_usd, provider, ttft_ms, duration_ms, attempts, client, client_request_id, aborted)"
            " SELECT 'b-' || n, now() - (%s - n) * (interval '1 day' * %s / %s), 'chat/completions',"
            "  'k' || n %% %s, 'current', 'r' || n %% %s, 'openai:m' || n %% %s, '', '3a1b9c0f72de', 'local', true,"
            "  CASE WHEN n %% 100 = 0 THEN 502 ELSE 200 END, '', 38, 23, 0.00042, 'openai', 50, 300, 1, '127.0.0.1',"
            "  '', false FROM generate_series(1, %s) n",
            [rows, DAYS, rows, KEYS, ROUTES, MODELS, rows],
        )


def _fill_sums() -> None:
    """The rollups that `access.store` would have written for such a log: a row for each step, model and route."""
    from models_app.domain.measuring import histogram
    from models_app.domain.windows import RollupStep
    from models_app.models import Traffic

    counts: dict[str, int] = {}
    for _ in range(2_000):
        histogram.add(counts, 200 + random.expovariate(0.005))
    now, made = datetime.now(UTC), []
    pairs = [(f"openai:m{m}", f"r{r}") for m in range(MODELS) for r in range(ROUTES)] + [("*", "*")]
    for step in RollupStep:
        start = step.floor(now)
        oldest = start if step == RollupStep.EVER else now - (step.kept or timedelta(days=DAYS))
        while start >= oldest:
            made += [
                Traffic(
                    step=step,
                    start=start,
                    model_key=model,
                    route=route,
                    requests=2_000,
                    durations=counts,
                    ttfts=counts,
                    last_at=now,
                    duration_ms=1.0,
                )
                for model, route in pairs
            ]
            if step == RollupStep.EVER:
                break
            start -= step.length
    Traffic.objects.bulk_create(made, batch_size=1_000)


def _timings() -> dict[str, float]:
    from django.utils import timezone

    from models_app.models import AccessLog
    from models_app.services.access_log.search import AccessFilter
    from models_app.services.reporting import exposition
    from models_app.services.rollups import live_metrics, partitions

    def page(**filters: Any) -> Callable[[], Any]:
        return lambda: list(AccessFilter(**filters).rows().order_by("-id", "-pk")[:51])

    middle = AccessLog.objects.order_by("-id").values_list("pk", flat=True)[0] // 2
    found = {
        f"live metrics, {window}, ms": _median(lambda w=window: live_metrics.live(window=w))  # type: ignore[misc]
        for window in ("1m", "5m", "1h", "1d", "7d", "30d")
    }
    found |= {
        "series, 1d, ms": _median(lambda: live_metrics.series(window="1d")),
        "Prometheus page, ms": _median(exposition.page),
        "page, newest, ms": _median(page()),
        "page, one model, ms": _median(page(model="openai:m3")),
        "page, one key, ms": _median(page(key="k7")),
        "page, errors, ms": _median(page(status=502)),
        "page, a day back, ms": _median(page(until=timezone.now() - timedelta(days=1))),
        "page, from the middle, ms": _median(
            lambda: list(AccessLog.objects.filter(pk__lt=middle).order_by("-id")[:51])
        ),
        "one request by its id, ms": _median(lambda: AccessFilter(request_id="b-77").rows().first()),
    }
    oldest = min(partitions.existing()) + timedelta(days=2)
    start = time.perf_counter()
    partitions.drop_before(oldest)
    found["retention of a day, ms"] = (time.perf_counter() - start) * 1000 / 2
    return found


def _median(ask: Callable[[], Any]) -> float:
    """Milliseconds, warm."""
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ask()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def child(folder: Path, url: str | None, *arguments: str) -> dict[str, float]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "noa_site.settings",
        "NOA_DATA_DIR": str(folder),
        "NOA_LOG_LEVEL": "ERROR",
        # Filling a table with ten million rows is one statement.
        "NOA_DATABASE_TIMEOUT": "3600",
    }
    environment |= {"DATABASE_URL": url} if url else {}
    ended = subprocess.run([sys.executable, __file__, *arguments], env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="in the large log")
    parser.add_argument("--stored", type=int, default=20_000, help="rows to time writing with")
    parser.add_argument("--store", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--big", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        store(options.store)
    elif options.big:
        big(options.big)
    else:
        report(options.rows, options.stored)


def report(rows: int, stored: int) -> None:
    from tests.servers.postgres import PostgresServer

    found: dict[str, dict[str, float]] = {"record": measure_record(50_000)}
    with tempfile.TemporaryDirectory() as folder:
        found["SQLite"] = child(Path(folder) / "sqlite", None, "--store", str(stored))
        with PostgresServer() as server:
            url = server.create("small")
            found["PostgreSQL"] = child(Path(folder) / "small", url, "--store", str(stored))
            url = server.create("large")
            found["large log"] = child(Path(folder) / "large", url, "--big", str(rows))
    for name, figures in found.items():
        print(name)
        for what, value in figures.items():
            goal = GOALS.get(what)
            print(f"  {what:40} {value:14,.2f}" + (f"   goal: at most {goal:g}" if goal else ""))
    target = ROOT / "benchmarks/results/accesslog.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
