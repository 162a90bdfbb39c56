"""The speed of NOA's runner beside other servers on llama.cpp, in one run.

    python benchmarks/engine.py [--rounds 3] [--peers PYTHON] [--only NAME …]

Three servers load the same model at the same time and get requests in turns: NOA's runner over its unix socket,
`python -m llama_cpp.server` and xllamacpp's server over TCP. Every request has a prompt of 48 tokens with a unique
prefix, takes 64 tokens at temperature 0 and streams. The models have random weights and never end by
themselves. The peers come from the Python given by `--peers`, into which requirements/bench.txt and the wheel of
llama-cpp-python were installed; by default the Python that runs this. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models_app.engines.spec import RunnerSpec  # noqa: E402
from tests.fakes import gguf_files  # noqa: E402

STREAMS = (1, 4, 16)
PROMPT_TOKENS = 48
ANSWER_TOKENS = 64
SLOTS = 16
# Room for all slots, and a margin: no server should run out of cache here.
CONTEXT = 4096
BATCH = 512
READY_SECONDS = 60.0
ANSWER_SECONDS = 300.0
# A server's threads spin for a while after its last token, on cores that the next server needs.
SETTLE_SECONDS = 0.5

# Goals: the minimum of NOA's tokens/s and the maximum of its TTFT, as multiples of a peer's.
GOALS = {
    ("300 MB", 16, "tokens_per_second"): {"llama_cpp.server": 4.0, "xllamacpp": 1.5},
    ("300 MB", 16, "ttft_ms"): {"llama_cpp.server": 0.5, "xllamacpp": 0.5},
    ("300 MB", 1, "tokens_per_second"): {"llama_cpp.server": 1.0, "xllamacpp": 1.0},
    ("20 MB", 1, "tokens_per_second"): {"xllamacpp": 0.6},
}

XLLAMACPP = """
import sys, xllamacpp
path, threads, slots, context, batch, port = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path = path
params.n_ctx, params.n_parallel, params.kv_unified = context, slots, True
params.n_batch = params.n_ubatch = batch
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.hostnames, params.port = ["127.0.0.1"], port
server = xllamacpp.Server(params)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Server:
    """A running server and how to reach it."""

    name: str
    address: str | int  # the path of a unix socket, or a TCP port
    process: subprocess.Popen[bytes]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, str):
            return await asyncio.open_unix_connection(self.address)
        return await asyncio.open_connection("127.0.0.1", self.address)


@dataclass(frozen=True)
class Measured:
    tokens_per_second: float
    ttft_ms: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start_noa(model: Path, folder: Path, threads: int, _python: str) -> Server:
    spec = RunnerSpec(
        instance_id="bench",
        model="bench",
        fingerprint="bench",
        path=str(model),
        socket=str(folder / "runner.sock"),
        n_ctx=CONTEXT,
        slots=SLOTS,
        n_batch=BATCH,
        n_threads=threads,
        n_gpu_layers=0,
    )
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "models_app.engines.runner", "--spec", spec.to_json()]
    process = subprocess.Popen(
        [*command, "--ready-fd", str(writing)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=(folder / "noa.log").open("wb"),
        pass_fds=[writing],
    )
    os.close(writing)
    os.close(reading)
    return Server("noa", spec.socket, process)


def start_llama_cpp(model: Path, folder: Path, threads: int, python: str) -> Server:
    port = free_port()
    options = {
        "--model": model,
        "--n_ctx": CONTEXT,
        "--n_batch": BATCH,
        "--n_threads": threads,
        "--n_threads_batch": threads,
        "--port": port,
        # Otherwise a second request would abort the first.
        "--interrupt_requests": False,
    }
    flat = [str(part) for pair in options.items() for part in pair]
    process = spawn([python, "-m", "llama_cpp.server", *flat], folder / "llama_cpp.log")
    return Server("llama_cpp.server", port, process)


def start_xllamacpp(model: Path, folder: Path, threads: int, python: str) -> Server:
    port = free_port()
    numbers = [str(number) for number in (threads, SLOTS, CONTEXT, BATCH, port)]
    process = spawn([python, "-c", XLLAMACPP, str(model), *numbers], folder / "xllamacpp.log")
    return Server("xllamacpp", port, process)


STARTS = {"noa": start_noa, "llama_cpp.server": start_llama_cpp, "xllamacpp": start_xllamacpp}


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def serving(names: list[str], model: Path, threads: int, python: str) -> Iterator[list[Server]]:
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as folder:
        try:
            for name in names:
                servers.append(STARTS[name](model, Path(folder), threads, python))
            for server in servers:
                asyncio.run(wait_ready(server, Path(folder)))
            yield servers
        finally:
            for server in servers:
                server.process.kill()
                server.process.wait()


async def wait_ready(server: Server, folder: Path) -> None:
    """Retry until one whole answer arrives, which also warms the server up."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            await complete(server, "warm up")
        except (OSError, ValueError) as error:
            if server.process.poll() is not None or time.monotonic() > end:
                logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
                raise SystemExit(f"{server.name} is not ready: {error}\n{logs}") from error
            await asyncio.sleep(0.1)
        else:
            return


async def complete(server: Server, prompt: str) -> tuple[float, int]:
    """Seconds to the first text, and the number of tokens: one printable character each."""
    body = json.dumps(
        {
            "model": "bench",
            "prompt": prompt,
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: bench\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    started = time.perf_counter()
    reader, writer = await server.connect()
    try:
        writer.write(head.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise ValueError(f"{server.name} answered {status!r}")
        first, tokens = 0.0, 0
        async for line in reader:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                return first, tokens
            tokens += sum(len(choice["text"]) for choice in json.loads(line[6:])["choices"])
            first = first or (time.perf_counter() - started if tokens else 0.0)
        raise ValueError(f"{server.name} ended a stream early")
    finally:
        writer.close()


_numbers = count(10**6)


def prompts(streams: int) -> list[str]:
    """Byte tokens and the BOS token; the number comes first, so that no prompt cache applies."""
    return [f"{next(_numbers)} ".ljust(PROMPT_TOKENS - 1, "x") for _ in range(streams)]


async def measure(server: Server, streams: int) -> Measured:
    started = time.perf_counter()
    async with asyncio.timeout(ANSWER_SECONDS):
        answers = await asyncio.gather(*(complete(server, prompt) for prompt in prompts(streams)))
    seconds = time.perf_counter() - started
    tokens = [count for _, count in answers]
    if min(tokens) < ANSWER_TOKENS:
        raise SystemExit(f"{server.name} gave {tokens} tokens instead of {ANSWER_TOKENS} each")
    first = statistics.median(first for first, _ in answers)
    return Measured(sum(tokens) / seconds, first * 1000)


def middle(rounds: list[Measured]) -> Measured:
    return Measured(
        statistics.median(one.tokens_per_second for one in rounds),
        statistics.median(one.ttft_ms for one in rounds),
    )


def measure_all(servers: list[Server], rounds: int) -> dict[str, dict[int, Measured]]:
    """The medians of `rounds` rounds; within a round the servers alternate."""
    samples: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(rounds):
        for streams in STREAMS:
            for server in servers:
                time.sleep(SETTLE_SECONDS)
                sample = asyncio.run(measure(server, streams))
                samples.setdefault((server.name, streams), []).append(sample)
    return {server.name: {n: middle(samples[server.name, n]) for n in STREAMS} for server in servers}


def print_table(size: str, results: dict[str, dict[int, Measured]]) -> None:
    print(f"\n{size}, tokens/s and TTFT p50; in brackets NOA as a multiple")
    print(f"{'':18}" + "".join(f"{streams:>26} streams" for streams in STREAMS))
    ours = results.get("noa")
    for name, by_streams in results.items():
        cells = []
        for streams, one in by_streams.items():
            cell = f"{one.tokens_per_second:8.0f} {one.ttft_ms:7.0f} ms"
            if ours and name != "noa":
                mine = ours[streams]
                cell += f" ({mine.tokens_per_second / one.tokens_per_second:5.2f} {mine.ttft_ms / one.ttft_ms:5.2f})"
            cells.append(f"{cell:>34}")
        print(f"{name:18}" + "".join(cells))


def check_goals(size: str, results: dict[str, dict[int, Measured]]) -> list[str]:
    """The goals that were missed, as sentences."""
    missed = []
    for (goal_size, streams, what), wanted in GOALS.items():
        for peer, limit in wanted.items():
            if goal_size != size or not {"noa", peer} <= results.keys():
                continue
            ratio = getattr(results["noa"][streams], what) / getattr(results[peer][streams], what)
            good = ratio <= limit if what == "ttft_ms" else ratio >= limit
            if not good:
                missed.append(f"{size}, {streams} streams: {what} is {ratio:.2f} x {peer}, goal {limit}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--only", nargs="*", choices=STARTS, default=list(STARTS))
    parser.add_argument("--sizes", nargs="*", choices=["300 MB", "20 MB"], default=["300 MB", "20 MB"])
    options = parser.parse_args()
    report: dict[str, object] = {"command": sys.argv, "threads": options.threads}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as folder:
        for size in options.sizes:
            model = write_model(Path(folder), size)
            with serving(options.only, model, options.threads, options.peers) as servers:
                results = measure_all(servers, options.rounds)
            print_table(size, results)
            missed += check_goals(size, results)
            report[size] = {name: {n: asdict(one) for n, one in by.items()} for name, by in results.items()}
    print("\n" + ("\n".join(missed) or "All goals are met."))
    target = ROOT / "benchmarks" / "results" / "engine.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2))
    return bool(missed)


def write_model(folder: Path, size: str) -> Path:
    path = folder / f"{size.split()[0]}.gguf"
    if size == "300 MB":
        return gguf_files.write_random_gguf(path, megabytes=300, layers=10, embedding=1024, heads=16)
    return gguf_files.write_random_gguf(path, megabytes=20, layers=6, embedding=256, heads=8)


if __name__ == "__main__":
    sys.exit(main())
