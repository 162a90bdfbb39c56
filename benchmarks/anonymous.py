"""Rows and bytes that requests without a key leave: 10,000 of each kind, over all routes and methods.

    python benchmarks/anonymous.py [--count 10000] [--clients 8] [--settle 65]

Starts a server on SQLite in a temporary folder. Prints, for each kind, the requests per second, the statuses, and by
how much the rows of all tables and the files of the data folder have grown. Results go to
benchmarks/results/anonymous.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.journeys.server import NoaServer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "anonymous.json"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# A period of sampling has ended by then, and the sums of refused requests are stored.
_SETTLE_SECONDS = 65.0

Request = tuple[str, str, dict[str, str]]
# Name: method, path, headers; `{}` is the number of the request.
KINDS: dict[str, Request] = {
    "API, no key": ("POST", "/api/v1/models", {}),
    "API, random keys": ("DELETE", "/api/v1/routes/x", {"Authorization": "Bearer noa_{}_secret"}),
    "API, random sessions": ("POST", "/api/v1/providers", {"Cookie": "sessionid=a{}"}),
    "API, idempotency keys": ("POST", "/api/v1/models/load", {"Idempotency-Key": "k{}"}),
    "console, random sessions": ("GET", "/admin/", {"Cookie": "sessionid=a{}"}),
    "console, log-ins without a token": ("POST", "/admin/login/", {}),
    "other hosts": ("GET", "/admin/login/", {"Host": "evil{}.example"}),
    "gateway, no key": ("POST", "/v1/chat/completions", {}),
    "gateway, random keys": ("POST", "/v1/embeddings", {"Authorization": "Bearer noa_{}_secret"}),
    "gateway, request ids": ("POST", "/v1/messages", {"X-Request-ID": "id{}"}),
    "the document": ("GET", "/api/schema", {}),
    "the log-in page": ("GET", "/admin/login/", {}),
}


def rows(folder: Path) -> dict[str, int]:
    with sqlite3.connect(folder / "noa.sqlite3") as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in names}


def files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def paths(server: NoaServer) -> list[str]:
    """Every path of the document, with a value for each name in it."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request("GET", "/api/schema", headers={"Accept": "application/json"})
    document = json.loads(connection.getresponse().read())
    connection.close()
    return ["/".join("nothing" if "{" in part else part for part in path.split("/")) for path in document["paths"]]


def send(server: NoaServer, requests: list[Request], statuses: Counter[int]) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    for method, path, headers in requests:
        try:
            connection.request(method, path, b'{"model": "current"}' if method == "POST" else None, headers)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
        except (http.client.HTTPException, OSError):
            connection.close()
            statuses[0] += 1
    connection.close()


def run(server: NoaServer, folder: Path, requests: list[Request], clients: int, settle: float) -> dict[str, Any]:
    before, bytes_before = rows(folder), files(folder)
    counts = [Counter[int]() for _ in range(clients)]
    threads = [
        threading.Thread(target=send, args=(server, requests[number::clients], counts[number]))
        for number in range(clients)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    time.sleep(settle)
    after = rows(folder)
    grown = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
    return {
        "requests": len(requests),
        "per second": round(len(requests) / seconds, 1),
        "statuses": {str(status): count for status, count in sorted(sum(counts, Counter()).items())},
        "rows": sum(grown.values()),
        "rows by table": grown,
        "bytes": files(folder) - bytes_before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--settle", type=float, default=_SETTLE_SECONDS, help="seconds before the rows are counted")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as name:
        folder = Path(name) / "data"
        server = NoaServer(folder).start()
        try:
            every: list[Request] = [(method, path, {}) for path in paths(server) for method in METHODS]
            work = {"every route and method": [every[number % len(every)] for number in range(options.count)]}
            for kind, (method, path, headers) in KINDS.items():
                work[kind] = [
                    (method, path, {key: value.replace("{}", str(number)) for key, value in headers.items()})
                    for number in range(options.count)
                ]
            for kind, requests in work.items():
                found[kind] = run(server, folder, requests, options.clients, options.settle)
                print(f"{kind:36} {json.dumps(found[kind])}", flush=True)
            log = len(server.text)
            print(f"log: {log} bytes")
            found["log, bytes"] = log
        finally:
            server.stop()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
