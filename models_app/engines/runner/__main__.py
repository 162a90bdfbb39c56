"""The program that serves one local model; `models_app.engines.spec` defines its arguments and answers."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from models_app.engines import marks
from models_app.engines.confinement import confining
from models_app.engines.confinement.confining import NotConfined
from models_app.engines.runner import lifecycle
from models_app.engines.runner.lifecycle import ReadyPipe
from models_app.engines.spec import RunnerSpec

logger = logging.getLogger("noa.runner")

# Libraries of llama.cpp's builds that open devices.
_GPU_BUILDS = ("cuda", "hip", "vulkan", "sycl", "opencl", "musa", "cann")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    spec, pipe = _arguments()
    lifecycle.die_with_parent()
    lifecycle.raise_oom_score()
    # A confined process creates no file, not even its socket.
    listener = lifecycle.bind(spec.socket)
    work = marks.create(marks.path_of(spec.socket))
    pipe.enter("start")
    try:
        missing = confining.confine_runner(Path(spec.path), gpu=_opens_devices(), mode=spec.confine)
    except NotConfined as error:
        pipe.failed(f"Runners must be confined (NOA_CONFINE=require), but this kernel lacks {error}.", stage="start")
        return 1
    logger.info("confined: %s", f"without {', '.join(missing)}" if missing else spec.confine)
    lifecycle.hold_lifeline()
    lifecycle.exit_with_any_thread()
    # Only now: libraries start threads when they are imported, and a thread that exists is not confined.
    serving = importlib.import_module("models_app.engines.runner.serving")
    code: int = serving.run(spec, pipe, listener, work)
    return code


def _arguments() -> tuple[RunnerSpec, ReadyPipe]:
    parser = argparse.ArgumentParser(prog="models_app.engines.runner")
    parser.add_argument("--spec", required=True, type=RunnerSpec.from_json)
    parser.add_argument("--ready-fd", required=True, type=int)
    arguments = parser.parse_args()
    return arguments.spec, ReadyPipe(arguments.ready_fd)


def _opens_devices() -> bool:
    found = find_spec("llama_cpp")
    places = (found.submodule_search_locations if found else None) or ()
    return any(next(Path(place).glob(f"lib/*ggml-{name}*"), None) for place in places for name in _GPU_BUILDS)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: a thread can still be tokenizing a long text, and no finalizer is needed.
    os._exit(code)
