"""CPU features that llama.cpp was compiled for, and those of the processor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from models_app.domain.errors import EngineError

# In a child process: a build for another processor crashes the process that loads it.
_PROGRAM = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
_SECONDS = 60.0


def compiled_for() -> frozenset[str]:
    """The names of llama.cpp's features that are on, such as AVX2. Raises EngineError when it cannot be loaded."""
    try:
        output = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            # A failed assertion ends the child; a debugger that it starts can hang.
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        raise EngineError(f"llama.cpp cannot be loaded: {''.join(last)}") from error
    return features(output)


def features(line: str) -> frozenset[str]:
    """The features of llama.cpp's system info, `CPU : AVX = 1 | AVX2 = 1 | …`."""
    return frozenset(re.findall(r"(\w+) = 1", line))


def processor(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The processor's flags in the kernel's list; empty if it has none."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", path.read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(flags[1].split()) if flags else frozenset()
