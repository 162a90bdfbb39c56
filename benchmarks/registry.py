"""The cost of reading the registry with 1,000 and 10,000 models, compared with a Django view that returns a constant.

    python benchmarks/registry.py [--requests 400]

Each database gets its own server: the ASGI stack that `noa serve` runs, in its own process, requested over one
persistent connection. SQLite always; PostgreSQL where DATABASE_URL names an empty database of one, or where its
programs are installed (a temporary cluster is made then). Results go to benchmarks/results/registry.json.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = (1_000, 10_000)
START_SECONDS = 60.0
WARM_UP = 50
BARE = "/bare"
API = "/api/v1/models"
QUESTIONS = {
    "bare view": BARE,
    "detail": f"{API}/llama.cpp:m{{number}}",
    "page of 50": f"{API}?page_size=50",
    "filtered search": f"{API}?provider=llama.cpp&capability=chat_completion&tag=team-7"
    "&min_context_window=8192&q=model",
    "statistics": f"{API}/statistics",
}
GOALS = {"detail / bare view": 1.5, "filtered search, 10,000 / 1,000": 2.0}


# The server


def prepare(count: int) -> str:
    """Fill the configured database with `count` models; returns an API key. Runs in its own process."""
    import django

    django.setup()
    from django.core.management import call_command

    from models_app.models import ModelVersion, RegisteredModel
    from models_app.services.api_keys import keys
    from models_app.services.catalog import lookup
    from models_app.services.routes import routing

    call_command("migrate", verbosity=0)
    provider = lookup.local_provider()
    models = [_model(number, provider) for number in range(count)]
    RegisteredModel.objects.bulk_create(models, batch_size=500)
    versions = [
        ModelVersion(
            model=model,
            sha256=f"{number:064x}",
            path=f"/models/m{number}.gguf",
            size_bytes=1_000_000 + number,
            file_mtime_ns=1,
            quantization="Q4_K_M" if number % 2 else "Q8_0",
            architecture="llama",
        )
        for number, model in enumerate(RegisteredModel.objects.order_by("pk"))
    ]
    ModelVersion.objects.bulk_create(versions, batch_size=500)
    for version in versions:
        version.model.version = version
    RegisteredModel.objects.bulk_update([version.model for version in versions], ["version"], batch_size=200)
    key = keys.create(name="benchmark", scopes=["read"], actor="benchmark")[1]
    routing.bump()
    return key


def _model(number: int, provider: Any) -> Any:
    from models_app.models import RegisteredModel

    model = RegisteredModel(
        provider=provider,
        model_id=f"m{number}",
        key=f"llama.cpp:m{number}",
        name=f"Model {number}",
        description="One of many models, described in a sentence of usual length.",
        context_window=4096 << number % 5,
        tags=[f"team-{number % 10}", "benchmark"],
        tag_index=f",team-{number % 10},benchmark,",
        metadata={"license": "apache-2.0", "number": number},
        load_options={"n_ctx": 4096},
    )
    model.capabilities = ["text_generation", "chat_completion", "streaming"]
    return model


def serve(port: int) -> None:
    """The web process of NOA with one more URL: a view that does nothing."""
    import django

    django.setup()
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    from noa_site import urls, web

    def bare(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b'{"constant": true}', content_type="application/json")

    class UrlsOfTheBenchmark:
        urlpatterns = [path(BARE[1:], bare), *urls.urlpatterns]
        handler400, handler403 = urls.handler400, urls.handler403
        handler404, handler500 = urls.handler404, urls.handler500

    settings.ROOT_URLCONF = UrlsOfTheBenchmark
    with socket.create_server(("127.0.0.1", port)) as listener:
        web.serve(listener)


@contextlib.contextmanager
def running(environment: dict[str, str]) -> Iterator[int]:
    """A server on the returned port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(port)], cwd=ROOT, env=environment)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server did not listen on port {port}") from None
            time.sleep(0.05)
        else:
            return


# The client


def measure(port: int, key: str, path: str, requests: int, count: int) -> list[float]:
    """Milliseconds of each request, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    assert connection.sock is not None
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    took = []
    for number in range(requests):
        address = path.format(number=number * 7919 % count)
        began = time.perf_counter()
        connection.request("GET", address, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"GET {address}: {answer.status} {body[:300]!r}")
    connection.close()
    return took


def measure_all(port: int, key: str, requests: int, count: int) -> dict[str, dict[str, float]]:
    """The requests alternate, so that a noisy moment hits all of them."""
    samples: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    for path in QUESTIONS.values():
        measure(port, key, path, WARM_UP, count)
    for _ in range(10):
        for name, path in QUESTIONS.items():
            samples[name] += measure(port, key, path, max(1, requests // 10), count)
    return {name: summary(took) for name, took in samples.items()}


def summary(took: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(took, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98]}


# The databases


def environment_for(folder: Path, url: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NOA_")}
    kept.pop("DATABASE_URL", None)
    kept |= {"NOA_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "noa_site.settings"}
    return kept | ({"DATABASE_URL": url} if url else {})


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str | None]:
    """The URL of a server to make databases on, or None and a sentence."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        yield os.environ["DATABASE_URL"]
        return
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        print("PostgreSQL is not installed and DATABASE_URL names none: measured without it.")
        yield None
        return
    with cluster(found[-1], folder) as url:
        yield url


@contextlib.contextmanager
def cluster(programs: Path, folder: Path) -> Iterator[str]:
    """A temporary PostgreSQL on a free port of loopback."""
    # PostgreSQL refuses to run as root.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    prefix = as_user if os.geteuid() == 0 else []
    data = folder / "cluster"
    data.mkdir()
    if prefix:
        folder.chmod(0o755)
        subprocess.run(["chown", "postgres:postgres", str(data)], check=True)
    subprocess.run(
        [*prefix, str(programs / "initdb"), "-D", str(data), "-U", "noa", "-A", "trust", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options = f"-h 127.0.0.1 -p {port} -k {data} -c fsync=off"
    control = [*prefix, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(
        [*control, "-o", options, "-l", str(data / "log"), "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        yield f"postgresql://noa@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd="/")


def new_database(url: str, name: str) -> str:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.rpartition("/")[0] + "/" + name


# The comparison


def compare(folder: Path, requests: int) -> dict[str, dict[int, dict[str, dict[str, float]]]]:
    results: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    with postgres(folder) as url:
        for database in ["SQLite", *(["PostgreSQL"] if url else [])]:
            for count in SIZES:
                name = f"noa_bench_{count}"
                own = new_database(url, name) if url and database == "PostgreSQL" else None
                data = folder / f"{database}-{count}"
                data.mkdir()
                results.setdefault(database, {})[count] = one(environment_for(data, own), count, requests)
                print(f"{database} with {count:,} models done", flush=True)
    return results


def one(environment: dict[str, str], count: int, requests: int) -> dict[str, dict[str, float]]:
    filled = subprocess.run(
        [sys.executable, __file__, "--prepare", str(count)],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    with running(environment) as port:
        return measure_all(port, filled.stdout.split()[-1], requests, count)


def print_report(results: dict[str, dict[int, dict[str, dict[str, float]]]]) -> dict[str, Any]:
    """The table, and the ratios by database."""
    found: dict[str, dict[str, float]] = {}
    print(f"{'':<34}" + "".join(f"{name:>24}" for name in QUESTIONS))
    for database, by_size in results.items():
        for count, measured in by_size.items():
            cells = "".join(f"{figures(one):>24}" for one in measured.values())
            print(f"{f'{database}, {count:,} models, p50 / p99':<34}{cells}")
        found[database] = ratios(by_size)
        for name, goal in GOALS.items():
            verdict = "met" if found[database][name] <= goal else "MISSED"
            print(f"{database}: {name}: {found[database][name]:.2f} (goal <= {goal:g}): {verdict}")
    return found


def figures(measured: dict[str, float]) -> str:
    return f"{measured['p50_ms']:.2f} / {measured['p99_ms']:.2f} ms"


def ratios(by_size: dict[int, dict[str, dict[str, float]]]) -> dict[str, float]:
    small, large = (by_size[count] for count in SIZES)
    return {
        "detail / bare view": large["detail"]["p50_ms"] / large["bare view"]["p50_ms"],
        "filtered search, 10,000 / 1,000": large["filtered search"]["p50_ms"] / small["filtered search"]["p50_ms"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400, help="of each kind and database")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=int, metavar="COUNT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.prepare:
        print(prepare(options.prepare))
    else:
        with tempfile.TemporaryDirectory(prefix="noa-bench-") as name:
            results = compare(Path(name), options.requests)
        target = ROOT / "benchmarks/results/registry.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps({"results": results, "ratios": print_report(results)}, indent=2))


if __name__ == "__main__":
    main()
