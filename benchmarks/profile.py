"""The accuracy of profiles: their tokens/s against those measured directly in llama.cpp in the same run.

    python benchmarks/profile.py [--rounds 5] [--prompt 128] [--tokens 64]

Direct: a process that calls llama_decode as `llama-bench` does, a prompt in one batch (pp) and token after token (tg),
without a server and with greedy sampling. Profile: a runner of NOA, measured as by a profile job. The two alternate
within a round, and the medians are printed with their ratio. Goal: 0.9 to 1.1 for a model whose step takes a
millisecond or more; below that the path of a token to its client dominates, which a profile includes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# One thread: with more, two processes on a busy machine would measure the machine.
THREADS = 1
CONTEXT = 2048
LEAST, MOST = 0.9, 1.1

# Reads "prompt tokens" lines, answers "pp tg" in tokens per second.
DIRECT = """
import sys, time
import llama_cpp as l
path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
l.llama_backend_init()
quiet = l.llama_log_callback(lambda *_: None)
l.llama_log_set(quiet, None)
wanted = l.llama_model_default_params(); wanted.n_gpu_layers = 0
model = l.llama_model_load_from_file(path.encode(), wanted)
params = l.llama_context_default_params()
params.n_ctx, params.n_batch, params.n_ubatch = context, 512, 512
params.n_threads = params.n_threads_batch = threads
ctx = l.llama_init_from_model(model, params)
n_vocab = l.llama_vocab_n_tokens(l.llama_model_get_vocab(model))
def decode(ids):
    array = (l.llama_token * len(ids))(*ids)
    assert l.llama_decode(ctx, l.llama_batch_get_one(array, len(ids))) == 0
    l.llama_synchronize(ctx)
for line in sys.stdin:
    prompt, tokens = map(int, line.split())
    l.llama_memory_clear(l.llama_get_memory(ctx), True)
    ids = [(7 * n) % (n_vocab - 1) + 1 for n in range(prompt)]
    began = time.perf_counter(); decode(ids); first = time.perf_counter()
    for n in range(tokens - 1):
        decode([ids[n % prompt]])
    ended = time.perf_counter()
    print(prompt / (first - began), (tokens - 1) / (ended - first), flush=True)
"""


def measured(target: object, *, prompt: int, tokens: int, seed: str) -> tuple[float, float, int]:
    """Prompt and generation tokens/s of one request, as a profile measures it, and the tokens of its prompt."""
    from models_app.domain.traffic.routing import Target
    from models_app.providers.asking.measuring import Load, Measurement, sized

    assert isinstance(target, Target)
    bare = Load("completions", 3, 1, tokens, ("",), whole_length=True, seed=seed)
    load = sized(target, bare, prompt_tokens=prompt)
    with Measurement(target, load) as measurement:
        samples = [sample for batch in measurement.batches(1.0) for sample in batch]
    assert all(sample.ok and sample.completion_tokens == tokens for sample in samples), samples
    pp = statistics.median(sample.prompt_tokens_per_second or 0 for sample in samples)
    tg = statistics.median(sample.generation_tokens_per_second or 0 for sample in samples)
    return pp, tg, samples[-1].prompt_tokens or 0


def compare(name: str, model: Path, *, rounds: int, prompt: int, tokens: int) -> dict[str, float]:
    from models_app.domain.traffic.routing import Target
    from tests.engines.runner.program import launch

    with tempfile.TemporaryDirectory(prefix="noa-bench-") as folder:
        command = [sys.executable, "-c", DIRECT, str(model), str(THREADS), str(CONTEXT)]
        direct = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        runner = launch(Path(folder), model, n_ctx=CONTEXT, n_threads=THREADS).wait_ready()
        try:
            target = Target("llama.cpp:bench", "bench", runner.spec.socket, frozenset())
            found: dict[str, list[float]] = {"pp": [], "tg": [], "pp_direct": [], "tg_direct": []}
            for number in range(rounds + 1):
                pp, tg, true = measured(target, prompt=prompt, tokens=tokens, seed=f"{number}")
                assert direct.stdin and direct.stdout
                direct.stdin.write(f"{true} {tokens}\n")
                direct.stdin.flush()
                raw = [float(word) for word in direct.stdout.readline().split()]
                if number:  # the first round warms both up
                    for key, value in zip(found, (pp, tg, *raw), strict=True):
                        found[key].append(value)
        finally:
            runner.end()
            direct.kill()
            direct.wait()
    middle = {key: statistics.median(values) for key, values in found.items()}
    ratios = {what: middle[what] / middle[f"{what}_direct"] for what in ("pp", "tg")}
    for what, ratio in ratios.items():
        print(
            f"{name:12} {what}  profile {middle[what]:9.1f}  direct {middle[f'{what}_direct']:9.1f}  ratio {ratio:.3f}"
        )
    return middle | {f"{what}_ratio": ratio for what, ratio in ratios.items()}


def main() -> int:
    from tests.fakes import gguf_files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    demo = ROOT / "models_app" / "demo" / "noa-demo-ember.gguf"
    report: dict[str, object] = {"command": sys.argv}
    with tempfile.TemporaryDirectory(prefix="noa-bench-") as folder:
        big = gguf_files.write_random_gguf(
            Path(folder) / "300.gguf", megabytes=300, layers=10, embedding=1024, heads=16
        )
        for name, model in (("demo", demo), ("300 MB", big)):
            report[name] = compare(name, model, rounds=options.rounds, prompt=options.prompt, tokens=options.tokens)
    target = ROOT / "benchmarks" / "results" / "profile.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2))
    ratio = report["300 MB"]["tg_ratio"]  # type: ignore[index]
    good = LEAST <= ratio <= MOST
    print("The goal is met." if good else f"tg of the 300 MB model is {ratio:.2f}, goal {LEAST} to {MOST}")
    return not good


if __name__ == "__main__":
    sys.exit(main())
