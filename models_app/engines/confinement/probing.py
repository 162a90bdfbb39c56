"""Whether this machine can confine runners: a process confines itself as one (`python -m …probing`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from models_app.domain.errors import EngineError
from models_app.engines.confinement import confining, landlock
from models_app.engines.confinement.confining import Mode

_SECONDS = 60.0
# The version that also keeps signals inside; older ones lack that, and below 4 the network.
_WHOLE_LANDLOCK = 6


def missing() -> list[str]:
    """The parts that the kernel, or a container, does not allow; only a try shows that. Raises EngineError."""
    try:
        output = subprocess.run(
            [sys.executable, "-m", __name__], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
        found: list[str] = json.loads(output)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        raise EngineError(f"A confined process could not be started: {''.join(last)}") from error
    return found


def main() -> None:
    lacking = confining.confine_runner(Path(os.devnull), gpu=False, mode=Mode.AUTO)
    if not any(part.startswith("Landlock") for part in lacking) and landlock.version() < _WHOLE_LANDLOCK:
        lacking.append(f"Landlock's rules for network or signals (version {landlock.version()} of {_WHOLE_LANDLOCK})")
    sys.stdout.write(json.dumps(lacking))


if __name__ == "__main__":
    main()
