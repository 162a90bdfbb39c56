"""Attacks beside good traffic of another key: what they cost it. The goal: no failed request, p95 at most doubled.

    python benchmarks/attack.py [--kind schema|template|abort|integer] [--seconds 600]

Starts a whole server. Two clients stream one answer after the other, first alone and then while four connections send
hostile requests with another key:

    schema    schemas whose grammars are expensive, of all families, at three endpoints
    template  one word of the user makes the chat template of the model's file compute for minutes
    abort     each request ends its runner (a fake one, whose answers have one piece: only failures count)
    integer   max_tokens 2**64-1, with a key that has limits, which are counted in Redis (its server must be installed)
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.chaos import attack  # noqa: E402
from tests.chaos.attack import Outcome  # noqa: E402
from tests.fakes import hostile_templates  # noqa: E402
from tests.fakes.gguf_files import write_tiny_gguf  # noqa: E402
from tests.journeys.server import NoaServer  # noqa: E402
from tests.servers.redis import RedisServer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "attack.json"
WORST_RATIO = 2.0


def schema(stack: ExitStack, folder: Path, seconds: float) -> Outcome:
    server = started(stack, NoaServer(folder / "data"))
    return attack.run(server, attack.attacker_key(server), attack.schemas("current"), seconds=seconds)


def template(stack: ExitStack, folder: Path, seconds: float) -> Outcome:
    models = folder / "models"
    models.mkdir()
    kinds = list(hostile_templates.SLOW.values())
    write_tiny_gguf(models / "hostile.gguf", chat_template=hostile_templates.armed(kinds[0]), ends=False)
    server = started(stack, NoaServer(folder / "data", {"NOA_MODELS_DIR": str(models)}))
    status, found = server.api("GET", "/api/v1/models")
    (model,) = [one["key"] for one in found["models"] if "hostile" in one["key"]]
    status, job = server.api("POST", "/api/v1/models/load?wait=60", {"key": model})
    assert status == 200, job
    hostile = attack.chats(model, hostile_templates.WORD + " {}")
    return attack.run(server, attack.attacker_key(server), hostile, seconds=seconds, model=model)


def abort(stack: ExitStack, folder: Path, seconds: float) -> Outcome:
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.chaos.fake_runner_settings",
        "NOA_TEST_RUNNER": "--behaviour crashes --crash-at die!",
    }
    server = started(stack, NoaServer(folder / "data", environment))
    return attack.run(server, attack.attacker_key(server), attack.chats("current", "die!"), seconds=seconds)


def integer(stack: ExitStack, folder: Path, seconds: float) -> Outcome:
    redis = stack.enter_context(RedisServer())
    server = started(stack, NoaServer(folder / "data", {"NOA_REDIS_URL": redis.url()}))
    key = attack.attacker_key(server, limits={"tokens_per_minute": 10**6})
    hostile = attack.chats("current", "Hello {}", max_tokens=2**64 - 1)
    return attack.run(server, key, hostile, seconds=seconds)


KINDS: dict[str, Callable[[ExitStack, Path, float], Outcome]] = {
    "schema": schema,
    "template": template,
    "abort": abort,
    "integer": integer,
}


def started(stack: ExitStack, server: NoaServer) -> NoaServer:
    server.start()
    stack.callback(server.kill)
    return server


def report(kind: str, seconds: float, outcome: Outcome) -> bool:
    """Prints and stores the figures; returns whether the goal is met."""
    ratio = outcome.attacked.p95 / outcome.quiet.p95 if outcome.quiet.p95 else 0.0
    figures = {
        "kind": kind,
        "seconds": seconds,
        "good answers": outcome.attacked.whole,
        "failed good answers": len(outcome.attacked.failed),
        "p95 between pieces, quiet, ms": round(1000 * outcome.quiet.p95, 2),
        "p95 between pieces, attacked, ms": round(1000 * outcome.attacked.p95, 2),
        "ratio": round(ratio, 2),
        "longest gap, ms": round(1000 * max(outcome.attacked.gaps, default=0.0), 1),
        "answers to the attack": dict(outcome.answers.most_common()),
        "first failures": outcome.attacked.failed[:5],
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for line in lines(figures):
        print(line)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(figures) + "\n")
    return not outcome.attacked.failed and ratio <= WORST_RATIO


def lines(figures: dict[str, object]) -> Iterator[str]:
    for name, value in figures.items():
        yield f"{name:34} {value}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, default="schema")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noa-attack-")))
        outcome = KINDS[options.kind](stack, folder, options.seconds)
    return 0 if report(options.kind, options.seconds, outcome) else 1


if __name__ == "__main__":
    sys.exit(main())
