"""What operators notice while 64 clients guess passwords and 64 operators wait for jobs, on PostgreSQL.

    python benchmarks/waiting.py [--seconds 60] [--guessing 64] [--waiting 64]

Starts PostgreSQL, Redis, one web process and a worker. Beside the two kinds of clients it requests `/readyz` twice a
second, and the API's and the gateway's list of models ten times a second. Prints the statuses and percentiles of each,
and fails when `/readyz` was not 200 throughout, or the API's 95th percentile is a second or more. Results go to
benchmarks/results/waiting.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.journeys.server import NoaServer  # noqa: E402
from tests.servers.stack import EMBER, Stack  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "waiting.json"
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


class Client:
    """One connection, and what its requests took."""

    def __init__(self, server: NoaServer) -> None:
        self._netloc = urlsplit(server.url).netloc
        self._connection = http.client.HTTPConnection(self._netloc, timeout=120)
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.cookie = ""

    def ask(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> bytes:
        started = time.perf_counter()
        data, status = b"", 0
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            data, status = answer.read(), answer.status
            self.cookie = (answer.getheader("Set-Cookie") or self.cookie).partition(";")[0]
        except (http.client.HTTPException, OSError):
            self._connection.close()
        self.statuses[status] += 1
        self.seconds.append(time.perf_counter() - started)
        return data


def guess(client: Client, number: int) -> None:
    """Wrong passwords, each with a valid form; a client has its own user name."""
    page = client.ask("GET", "/admin/login/", {"Accept": "text/html"})
    found = _TOKEN.search(page)
    token = found[1].decode() if found else ""
    form = urlencode({"username": f"user{number}", "password": "wrong", "csrfmiddlewaretoken": token})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": client.cookie}
    client.ask("POST", "/admin/login/", headers, form)


def summary(clients: list[Client]) -> dict[str, Any]:
    seconds = sorted(second for client in clients for second in client.seconds)
    total = sum((client.statuses for client in clients), Counter[int]())
    if len(seconds) < 2:
        return {"statuses": {str(status): count for status, count in total.items()}}
    return {
        "requests": len(seconds),
        "statuses": {str(status): count for status, count in sorted(total.items())},
        "p50 ms": round(1000 * statistics.median(seconds), 1),
        "p95 ms": round(1000 * statistics.quantiles(seconds, n=20)[18], 1),
        "most ms": round(1000 * seconds[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--guessing", type=int, default=64)
    parser.add_argument("--waiting", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as name, Stack(Path(name), web_processes=1) as stack:
        server = stack.server
        key = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
        profile = json.dumps({"requests": 500, "max_tokens": 200, "concurrency": [1]})
        clients: dict[str, list[Client]] = {}
        stop = time.perf_counter() + options.seconds

        def repeat(client: Client, work: Callable[[Client], object], pause: float) -> None:
            while time.perf_counter() < stop:
                work(client)
                time.sleep(pause)

        def start(kind: str, count: int, work: Callable[[Client, int], object], pause: float) -> list[threading.Thread]:
            clients[kind] = [Client(server) for _ in range(count)]
            return [
                threading.Thread(target=repeat, args=(client, lambda c, n=number: work(c, n), pause), daemon=True)
                for number, client in enumerate(clients[kind])
            ]

        wait = f"/api/v1/models/{EMBER}/profile?wait={options.seconds:.0f}"
        threads = [
            *start("guess passwords", options.guessing, guess, 0.0),
            *start("wait for a profile", options.waiting, lambda c, _: c.ask("POST", wait, key, profile), 0.0),
            *start("readyz", 1, lambda c, _: c.ask("GET", "/readyz", {}), 0.5),
            *start("API", 1, lambda c, _: c.ask("GET", "/api/v1/models", key), 0.1),
            *start("gateway", 1, lambda c, _: c.ask("GET", "/v1/models", key), 0.1),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(options.seconds + 130)
        found = {kind: summary(group) for kind, group in clients.items()}
    for kind, figures in found.items():
        print(f"{kind:20} {json.dumps(figures)}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    is_good = set(found["readyz"]["statuses"]) == {"200"} and found["API"]["p95 ms"] < 1000
    sys.exit(0 if is_good else "The server was not ready throughout, or its API was slow.")


if __name__ == "__main__":
    main()
