"""The last lines of a runner's log."""

from __future__ import annotations

import os
from pathlib import Path

from models_app.models import Instance

_TAIL_BYTES = 32_768
_TAIL_LINES = 200


def tail(*, instance: Instance) -> str | None:
    """Up to 200 lines; None where the log cannot be read here: the runner has ended, or is on another machine."""
    if not instance.socket:
        return None
    # The supervisor keeps the log beside the socket, and removes it with the process.
    path = Path(instance.socket).with_suffix(".log")
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    return "\n".join(lines[-_TAIL_LINES:])
