#!/usr/bin/env python3
"""The accuracy of NOA's predictions of memory and load time, over generated model shapes.

Each shape is loaded twice by the real runner, and used: a prompt that fills several batches, an answer in every slot, a
long embedding. Only then has llama.cpp touched all its allocations. The first prediction comes from the file's header,
the second from the first measurement.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models_app.domain.catalog import memory  # noqa: E402
from models_app.domain.catalog.gguf import GgufMetadata  # noqa: E402
from models_app.domain.catalog.options import LoadOptions  # noqa: E402
from models_app.engines import control, gguf, llamacpp, process  # noqa: E402
from tests.fakes.gguf_files import write_random_gguf  # noqa: E402

MIB = 2**20
WAIT = 300.0


@dataclass(frozen=True)
class Shape:
    megabytes: float
    quantization: str
    context: int
    layers: int = 8
    embedding: int = 512
    heads: int = 8
    heads_kv: int = 8
    unused_tokens: int = 0

    def __str__(self) -> str:
        return f"{self.megabytes:g} MB {self.quantization}, context {self.context}"


SHAPES = (
    Shape(1, "F32", 512, layers=1, embedding=64, heads=2, heads_kv=2),
    Shape(5, "Q8_0", 2048, layers=4, embedding=128, heads=4, heads_kv=4),
    Shape(20, "F16", 4096),
    Shape(20, "F16", 32_768, heads_kv=2),
    Shape(60, "Q4_0", 8192, layers=12, heads_kv=4, unused_tokens=32_000),
    Shape(100, "Q8_0", 512, unused_tokens=64_000),
    Shape(100, "F16", 16_384, layers=16),
    Shape(200, "Q4_0", 32_768, layers=16, embedding=1024, heads=16, heads_kv=4, unused_tokens=32_000),
    Shape(300, "F16", 8192, layers=12, embedding=1024, heads=16, heads_kv=8),
    Shape(400, "Q5_0", 4096, layers=20, embedding=1024, heads=16, heads_kv=4, unused_tokens=120_000),
    Shape(600, "Q8_0", 8192, layers=24, embedding=1024, heads=16, heads_kv=16),
    Shape(1000, "F16", 2048, layers=24, embedding=2048, heads=32, heads_kv=8, unused_tokens=32_000),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", type=int, nargs="*", help="numbers of shapes, from 0")
    arguments.add_argument("--parts", action="store_true", help="print each part in MiB")
    options = arguments.parse_args()
    print("| shape | predicted MiB | measured MiB | error | once measured | load s |")
    print("|---|---|---|---|---|---|")
    for number, shape in enumerate(SHAPES):
        if options.only is None or number in options.only:
            with tempfile.TemporaryDirectory(prefix="noa-") as folder:
                _measure(shape, Path(folder), options.parts)


def _measure(shape: Shape, folder: Path, parts: bool) -> None:
    path = write_random_gguf(
        folder / "model.gguf",
        megabytes=shape.megabytes,
        layers=shape.layers,
        embedding=shape.embedding,
        heads=shape.heads,
        heads_kv=shape.heads_kv,
        context=shape.context,
        quantization=shape.quantization,
        unused_tokens=shape.unused_tokens,
    )
    metadata = gguf.inspect(path, roots=[folder])
    first, second = (_load(metadata, path, folder) for _ in range(2))
    predicted = first["predicted"].total
    error = predicted / first["peak"] - 1
    again = first["peak"] / second["peak"] - 1
    print(
        f"| {shape} | {predicted / MIB:.0f} | {first['peak'] / MIB:.0f} | {error:+.1%} | {again:+.1%}"
        f" | {first['seconds']:.2f}, {second['seconds']:.2f} |",
        flush=True,
    )
    if parts:
        need: memory.MemoryNeed = first["predicted"]
        reported = {name: round(value / MIB, 1) for name, value in first["memory"].items()}
        print(f"  reported {reported}, peak {first['peak'] / MIB:.1f}", file=sys.stderr)
        print(
            f"  predicted weights {need.weights / MIB:.1f}, cache {need.kv_cache / MIB:.1f},"
            f" compute {need.compute / MIB:.1f}",
            file=sys.stderr,
        )


def _load(metadata: GgufMetadata, path: Path, folder: Path) -> dict[str, Any]:
    spec = llamacpp.plan(
        metadata,
        LoadOptions(n_ctx=metadata.context_length, n_gpu_layers=0),
        instance_id="0a1b2c3d",
        model="llama.cpp:random",
        fingerprint="fp",
        path=path,
        socket=folder / "runner.sock",
    )
    started = monotonic()
    command = (sys.executable, "-m", "models_app.engines.runner")
    runner = process.spawn(command, spec, folder / "runner.log")
    try:
        ready = runner.wait_ready(timeout=WAIT, on_stage=lambda *_: None, stop=lambda: None)
        seconds = monotonic() - started
        longest = min(spec.n_ctx - 8, 3 * spec.n_batch)
        _ask(spec.socket, "completions", prompt=[65] * longest, max_tokens=2)
        with ThreadPoolExecutor(spec.slots) as pool:
            for number in range(spec.slots):
                pool.submit(_ask, spec.socket, "completions", prompt=[65, 66 + number], max_tokens=8, logprobs=5)
        _ask(spec.socket, "embeddings", input=[65] * longest)
        peak = control.health(spec.socket)["memory"]["rss_bytes"]
    finally:
        runner.popen.kill()
        runner.popen.wait()
        assert runner.popen.stdin is not None
        runner.popen.stdin.close()
    predicted = llamacpp.memory_need(metadata, spec)
    return {"predicted": predicted, "memory": ready.memory, "peak": peak, "seconds": seconds}


def _ask(path: str, operation: str, **body: Any) -> None:
    connection = http.client.HTTPConnection("runner", timeout=WAIT)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request("POST", f"/v1/{operation}", json.dumps({"model": "m", **body}))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()


if __name__ == "__main__":
    threading.Timer(3600, lambda: os._exit(1)).start()
    main()
    os._exit(0)
