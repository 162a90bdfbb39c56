"""The cost of the console's pages with 1,000 models and a million rows of the access log, on PostgreSQL.

    python benchmarks/console.py [--models 1000] [--rows 1000000] [--repeats 15]

A temporary cluster is created and filled, then each page is requested through Django's whole stack in this process,
without a network. Reported are the SQL queries, the median and the slowest time on the server, and the time of an empty
page as a reference for the machine. Goals: 20 queries and 150 ms. Results go to
benchmarks/results/console.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers.postgres import PostgresServer  # noqa: E402

QUERIES, MILLISECONDS = 20, 150.0
TABLES = "/admin/models_app/"
PAGES = {
    "password page (shows nothing)": "/admin/password_change/",
    "overview": "/admin/",
    "playground": "/admin/playground/",
    "models": f"{TABLES}registeredmodel/",
    "models, searched": f"{TABLES}registeredmodel/?q=m77&status__exact=available",
    "model": f"{TABLES}registeredmodel/{{model}}/change/",
    "instances": f"{TABLES}instance/",
    "routes": f"{TABLES}route/",
    "requests": f"{TABLES}accesslog/",
    "requests, half a million rows on": f"{TABLES}accesslog/?before={{middle}}",
    "requests, failed in the last hour": f"{TABLES}accesslog/?outcome=failed&since=1h",
    "requests, failed, all": f"{TABLES}accesslog/?outcome=failed",
    "requests of one model": f"{TABLES}accesslog/?model=llama.cpp:m7",
    "requests, one id": f"{TABLES}accesslog/?q=r77777",
    "request": f"{TABLES}accesslog/{{middle}}/change/",
    "jobs": f"{TABLES}job/",
    "events": f"{TABLES}event/",
    "audit": f"{TABLES}auditentry/",
    "profiles": f"{TABLES}profilerun/",
    "compare": "/admin/compare/",
    "nodes": f"{TABLES}node/",
    "figures of an hour": "/admin/series/?window=1h",
    "figures of a day, one model": "/admin/series/?window=1d&model=llama.cpp:m7",
    "search": "/admin/search/?extended=1&s=m7{number}",
}


def fill(models: int, rows: int) -> dict[str, int]:
    """Rows like those of a busy day; returns ids for the addresses."""
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from models_app.domain.records.access import AccessRecord
    from models_app.models import AccessLog, ModelVersion, Provider, RegisteredModel, Route
    from models_app.services.access_log import store
    from models_app.services.catalog import lookup

    call_command("migrate", verbosity=0)
    provider: Provider = lookup.local_provider()
    RegisteredModel.objects.bulk_create(
        RegisteredModel(
            provider=provider,
            model_id=f"m{number}",
            key=f"llama.cpp:m{number}",
            name=f"Model {number}",
            capability_index=",text_generation,chat_completion,",
            context_window=8192,
        )
        for number in range(models)
    )
    found = list(RegisteredModel.objects.order_by("pk"))
    ModelVersion.objects.bulk_create(
        ModelVersion(model=one, sha256=f"{one.pk:064x}", path=f"/m/{one.pk}", size_bytes=10**9, file_mtime_ns=1)
        for one in found
    )
    Route.objects.create(name="current", target=found[0])
    now = timezone.now().timestamp()

    def records(start: int, count: int) -> Iterator[AccessRecord]:
        for number in range(start, start + count):
            yield AccessRecord(
                f"r{number}",
                now - (rows - number) * 86_400 / rows,
                "chat/completions",
                model_key=f"llama.cpp:m{number * 7 % models % 40}",
                route="current",
                requested_model="current",
                status=502 if number % 997 == 0 else 200,
                error_code="engine_error" if number % 997 == 0 else "",
                prompt_tokens=50,
                completion_tokens=60,
                ttft_ms=40.0 + number % 90,
                duration_ms=400.0 + number % 900,
            )

    batch = 10_000
    for start in range(0, rows, batch):
        store.store(list(records(start, min(batch, rows - start))))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    last = AccessLog.objects.order_by("-pk").values_list("pk", flat=True)[0]
    return {"model": found[7].pk, "middle": last - rows // 2, "number": 7}


def measure(ids: dict[str, int], repeats: int) -> dict[str, dict[str, Any]]:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("bench"))
    results = {}
    for name, address in PAGES.items():
        place = address.format(**ids)
        client.get(place)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(place).status_code == 200, place
        # Read now: the next request clears the list.
        queries = len(captured.captured_queries)
        times = []
        for _ in range(repeats):
            started = perf_counter()
            client.get(place)
            times.append((perf_counter() - started) * 1000)
        results[name] = {
            "queries": queries,
            "median_ms": round(statistics.median(times), 1),
            "slowest_ms": round(max(times), 1),
        }
    return results


def report(results: dict[str, dict[str, Any]]) -> bool:
    """Print the table; whether every page is within its goals."""
    base = next(iter(results.values()))["median_ms"]
    good = True
    print(f"{'page':38} {'queries':>7} {'median':>9} {'slowest':>9} {'beside the empty page':>22}")
    for name, one in results.items():
        fine = one["queries"] <= QUERIES and one["median_ms"] <= MILLISECONDS
        good = good and fine
        ratio = one["median_ms"] / base
        print(
            f"{name:38} {one['queries']:7} {one['median_ms']:6.1f} ms {one['slowest_ms']:6.1f} ms {ratio:20.1f} x"
            + ("" if fine else "  beyond the goal")
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    server = PostgresServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {
                "DATABASE_URL": server.create("noa"),
                "NOA_DATA_DIR": folder,
                "DJANGO_SETTINGS_MODULE": "noa_site.settings",
            }
            import django

            django.setup()
            results = measure(fill(options.models, options.rows), options.repeats)
            from django.db import connection

            connection.close()
    finally:
        server.stop()
    good = report(results)
    path = ROOT / "benchmarks" / "results" / "console.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"models": options.models, "rows": options.rows, "pages": results}, indent=1))
    sys.exit(0 if good else "Some pages are beyond their goals.")


if __name__ == "__main__":
    main()
