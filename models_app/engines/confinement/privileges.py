"""Rights and limits of a process that it gives up for good."""

from __future__ import annotations

import ctypes
import resource
import struct
from pathlib import Path

from models_app.engines.confinement import kernel

_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
_ALL_CAPABILITIES = 63


def set_no_new_privileges() -> None:
    """No program that it starts gets more rights, by setuid or file capabilities. Raises OSError."""
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_dumps() -> None:
    """No core files: they hold prompts.

    A limit of 1 byte also keeps them from a crash handler to which the kernel pipes them, which ignores 0. The process
    stays "dumpable": otherwise only root could read its memory use and adjust its OOM score.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def drop_capabilities(machine: str) -> None:
    """Give up all capabilities, for root also those that a program would get again. Raises OSError."""
    kernel.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL)
    for capability in range(_last_capability() + 1):
        _drop_from_bounds(capability)
    head = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    kernel.call(_CAPSET[machine], ctypes.c_char_p(head), ctypes.c_char_p(bytes(24)))


def _drop_from_bounds(capability: int) -> None:
    if kernel.prctl(_PR_CAPBSET_READ, capability):
        try:
            kernel.prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:
            # Without CAP_SETPCAP nothing can be dropped; `no_new_privs` keeps such capabilities from being gained.
            return


def _last_capability() -> int:
    try:
        return int(_LAST_CAPABILITY.read_text())
    except (OSError, ValueError):
        return _ALL_CAPABILITIES
