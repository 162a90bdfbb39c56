"""A wall clock that can be set for the processes of a test, and for no others of the machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("step_clock.c")


def why_not() -> str:
    """Why it cannot be made here; empty when it can."""
    return "" if shutil.which("cc") else "there is no C compiler"


class SteppedClock:
    """`environment` is for the processes that have it."""

    def __init__(self, folder: Path) -> None:
        library, self._offset = folder / "step_clock.so", folder / "clock_offset"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
        self._offset.write_bytes(struct.pack("d", 0.0))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}

    def set_to(self, seconds: float) -> None:
        """From now on it differs by so many seconds from the machine's."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("d", seconds))
