"""The standard streams of a program that was started without them."""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Open the null device in place of closed standard streams.

    The next file or socket would take the place of a closed one, and everything that is printed would be written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
