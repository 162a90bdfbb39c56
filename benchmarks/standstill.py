"""How long models are away after NOA stood still, or after its clock was set, in two shapes.

    .venv/bin/python benchmarks/standstill.py --pauses 100 --steps 20

The pauses are of 1 to 90 seconds: a run of 100 takes an hour for each shape.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.chaos import standstill  # noqa: E402

SHAPES = {"embedded": standstill.embedded, "two-nodes": standstill.two_nodes}
RESULTS = ROOT / "benchmarks" / "results" / "standstill.json"


def main() -> None:
    arguments = _arguments()
    found: dict[str, object] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}",
        "command": " ".join(sys.argv),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for name in arguments.shapes:
        with tempfile.TemporaryDirectory(prefix="noa-standstill-") as folder, SHAPES[name](Path(folder)) as shape:
            found[name] = {
                "pauses": standstill.pauses(shape, arguments.pauses, longest=arguments.longest).as_dict(),
                "steps": standstill.steps(shape, arguments.steps).as_dict(),
            }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pauses", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--longest", type=float, default=90.0, help="the longest pause, in seconds")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
