"""The overhead of the gateway: the same upstream requested directly, through nginx, and through NOA, in one run.

    python benchmarks/gateway.py [--seconds 5] [--rounds 3]

Needs `nginx`, `wrk`, `cc` and `taskset`. The proxy under test has one core to itself; the load generator and the
upstream share another. nginx only forwards and writes its access log; NOA checks the key, resolves
the route, counts tokens and stores a row in SQLite for every request. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

KEY = "noa_benchmark_key"
MODEL = "llama.cpp:bench"
EVENTS_PER_STREAM = 201  # benchmarks/upstream.c: 200 tokens, and the comment with `[DONE]`
PROXY_CORE = "0"
LOAD_CORE = "1"

GOALS = {"requests_at_32": 0.15, "p50_at_1": 2.0, "events": 0.8}

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000;
  upstream runner {{ server unix:{folder}/runner.sock; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://runner; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

WRK = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = '{body}'
function done(summary, latency, requests)
  io.stderr:write(string.format('{{"requests": %d, "seconds": %f, "p50_us": %f, "p99_us": %f, "errors": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status +
    summary.errors.timeout))
end
"""


@dataclass
class Subject:
    """A measured process, which listens on a port."""

    port: int
    process: subprocess.Popen[bytes]


@dataclass
class Load:
    """A load: its name, connections, and whether answers are streams."""

    name: str
    connections: int
    stream: bool


LOADS = (
    Load("1 connection", 1, False),
    Load("32 connections", 32, False),
    Load("8 streams", 8, True),
)


@dataclass
class Measured:
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    # Processor time of the process under test: meaningful even on a busy machine.
    cpu_us: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{process.args!r} did not listen on port {port}") from None
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def running(core: str, port: int, *command: str) -> Iterator[Subject]:
    process = subprocess.Popen(["taskset", "-c", core, *command], cwd=ROOT)
    try:
        wait_for_port(port, process)
        yield Subject(port, process)
    finally:
        process.terminate()
        process.wait(20)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, subject: Subject, load: Load, seconds: int) -> Measured:
    body = json.dumps({"model": "current", "messages": [{"role": "user", "content": "Say something."}]})
    if load.stream:
        body = body[:-1] + ',"stream":true}'
    script = folder / "load.lua"
    script.write_text(WRK.format(key=KEY, body=body))
    command = f"taskset -c {LOAD_CORE} wrk -t1 -c{load.connections} -d{seconds}s --timeout 10s -s {script}"
    before = cpu_seconds(subject.process)
    done = subprocess.run(
        [*command.split(), f"http://127.0.0.1:{subject.port}"],
        capture_output=True,
        text=True,
        check=True,
    )
    spent = cpu_seconds(subject.process) - before
    result = json.loads(done.stderr.strip().splitlines()[-1])
    if result["errors"]:
        raise SystemExit(
            f"{result['errors']} of {result['requests']} requests failed on port {subject.port}:\n{done.stdout}"
        )
    count = result["requests"]
    return Measured(
        count / result["seconds"],
        result["p50_us"] / 1000,
        result["p99_us"] / 1000,
        spent / count * 1e6,
    )


def run_all(folder: Path, subjects: dict[str, Subject], seconds: int, rounds: int) -> dict[str, dict[str, Measured]]:
    """Every proxy under every load; the rounds alternate between proxies, so that a noisy moment hits all."""
    samples: dict[tuple[str, str], list[Measured]] = {}
    for number in range(rounds):
        for load in LOADS:
            for name, subject in subjects.items():
                measure(folder, subject, load, 1)
                samples.setdefault((name, load.name), []).append(measure(folder, subject, load, seconds))
        print(f"round {number + 1} of {rounds} done", flush=True)
    return {name: {load.name: median(samples[name, load.name]) for load in LOADS} for name in subjects}


def median(samples: list[Measured]) -> Measured:
    return Measured(*(statistics.median(getattr(sample, f.name) for sample in samples) for f in fields(Measured)))


def ratios(results: dict[str, dict[str, Measured]]) -> dict[str, float]:
    nginx, noa = results["nginx"], results["noa"]
    return {
        "requests_at_32": noa["32 connections"].requests_per_second / nginx["32 connections"].requests_per_second,
        "p50_at_1": noa["1 connection"].p50_ms / nginx["1 connection"].p50_ms,
        "events": noa["8 streams"].requests_per_second / nginx["8 streams"].requests_per_second,
    }


def print_table(results: dict[str, dict[str, Measured]]) -> None:
    direct = results["direct"]
    print(
        f"{'':<8}{'load':<16}{'req/s':>10}{'events/s':>11}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'added p50':>11}{'added p99':>11}{'cpu us':>8}"
    )
    for name, by_load in results.items():
        for load in LOADS:
            m = by_load[load.name]
            events = f"{m.requests_per_second * EVENTS_PER_STREAM:,.0f}" if load.stream else ""
            p50, p99 = m.p50_ms - direct[load.name].p50_ms, m.p99_ms - direct[load.name].p99_ms
            print(
                f"{name:<8}{load.name:<16}{m.requests_per_second:>10,.0f}{events:>11}"
                f"{m.p50_ms:>9.3f}{m.p99_ms:>9.3f}{p50:>11.3f}{p99:>11.3f}{m.cpu_us:>8.1f}"
            )


def print_goals(found: dict[str, float]) -> None:
    for name, goal in GOALS.items():
        met = found[name] <= goal if name == "p50_at_1" else found[name] >= goal
        sign = "<=" if name == "p50_at_1" else ">="
        print(f"{name:<16} {found[name]:.2f} of nginx's (goal {sign} {goal}): {'met' if met else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=3, metavar=("PORT", "SOCKET", "DATABASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), *options.serve[1:])
        return
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as name:
        compare(Path(name), options.seconds, options.rounds)


def compare(folder: Path, seconds: int, rounds: int) -> None:
    program, address, database = (
        folder / "upstream",
        folder / "runner.sock",
        folder / "access.sqlite3",
    )
    subprocess.run(["cc", "-O2", "-o", str(program), str(ROOT / "benchmarks/upstream.c")], check=True)
    ports = {"direct": free_port(), "nginx": free_port(), "noa": free_port()}
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=ports["nginx"]))
    noa = [sys.executable, __file__, "--serve", str(ports["noa"]), str(address), str(database)]
    with (
        running(LOAD_CORE, ports["direct"], str(program), str(ports["direct"]), str(address)) as direct,
        running(PROXY_CORE, ports["nginx"], "nginx", "-c", str(config)) as nginx,
        running(PROXY_CORE, ports["noa"], *noa) as gateway,
    ):
        results = run_all(folder, {"direct": direct, "nginx": nginx, "noa": gateway}, seconds, rounds)
        pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGESIZE")
    found = ratios(results)
    print_table(results)
    print_goals(found)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT count(*), count(completion_tokens) FROM access").fetchone()
    print(f"{rows[0]:,} rows stored, {rows[1]:,} with token counts; {memory / 2**20:.0f} MiB resident")
    report = {name: {load: asdict(m) for load, m in by_load.items()} for name, by_load in results.items()}
    target = ROOT / "benchmarks/results/gateway.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"results": report, "ratios": found, "rows": rows[0], "rss_bytes": memory}, indent=2))


def serve(port: int, address: str, database: str) -> None:
    """The gateway alone, behind the HTTP server that `noa serve` uses, with a static snapshot."""
    import uvicorn

    from models_app.domain.records.access import AccessRecord
    from models_app.domain.traffic.routing import KeyEntry, ModelEntry, Snapshot, Target, hash_api_key
    from models_app.gateway.edge.app import Gateway
    from models_app.gateway.http.server import FrontProtocol, Server, settle_memory
    from models_app.gateway.recording.recorder import Recorder

    target = Target(MODEL, "bench", address, frozenset({"chat_completion"}))
    snapshot = Snapshot(
        revision=1,
        routes={"current": MODEL},
        models={MODEL: ModelEntry(MODEL, "bench", "llama.cpp", 0, target)},
        keys={hash_api_key(KEY): KeyEntry("bench", frozenset({"infer"}), None)},
    )

    class Static:
        current = snapshot

        async def refresh(self, reason: str) -> Snapshot:
            return self.current

    connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    names = [field.name for field in fields(AccessRecord)]
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"CREATE TABLE access ({', '.join(names)})")
    row = attrgetter(*names)
    insert = f"INSERT INTO access VALUES ({', '.join('?' * len(names))})"

    def store(records: list[AccessRecord]) -> None:
        connection.execute("BEGIN")
        connection.executemany(insert, map(row, records))
        connection.execute("COMMIT")

    recorder = Recorder(store)
    recorder.open(Path(database).parent / "spool", node="bench")
    gateway = Gateway(Static(), recorder)
    config = uvicorn.Config(
        gateway,
        port=port,
        http=FrontProtocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )

    async def drain() -> None:
        await gateway.close(5)

    settle_memory()
    Server(config, drain).run()
    recorder.close()


if __name__ == "__main__":
    main()
