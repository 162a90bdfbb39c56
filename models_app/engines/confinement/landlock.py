"""Landlock: which files a process can open from now on, for itself and all that it starts. Needs no privilege.

It does not restrict what is open already, nor `stat`, `chmod` and the like; `seccomp` refuses those that change
something.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from models_app.engines.confinement import kernel

# The same on all processors.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
# Rights that a rule on a file, not a folder, can have.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEVICE
# All rights of a version of Landlock (its "ABI"), each of which is refused without a rule.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract unix sockets and signals outside, from version 6

READ = READ_FILE | READ_DIR
USE_DEVICE = READ_FILE | WRITE_FILE | _IOCTL_DEVICE | READ_DIR


# Not a dataclass: importing `dataclasses` would take a quarter of a scan.
class Rule(NamedTuple):
    """Rights on a path and what is below it. Paths that do not exist are skipped."""

    path: Path
    rights: int


def version() -> int:
    """The kernel's version of Landlock. Raises OSError where it has none, or a container forbids it."""
    return kernel.call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))


def restrict(rules: Iterable[Rule]) -> int:
    """Refuse all other files, TCP, and signals to processes outside; returns the version. Raises OSError.

    Call after `no_new_privs`, while the process has one thread: others would stay free.
    """
    found = version()
    handled = _RIGHTS[min(found, 5)]
    words = [handled, _TCP, _SCOPES][: 1 if found < 4 else 2 if found < 6 else 3]
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = kernel.call(
        _CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        for rule in rules:
            _add(ruleset, rule, handled)
        kernel.call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return found


def _add(ruleset: int, rule: Rule, handled: int) -> None:
    try:
        descriptor = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rule.rights & handled
        if not rule.path.is_dir():
            allowed &= _OF_FILES
        if not allowed:
            return
        attributes = ctypes.c_char_p(struct.pack("=Qi", allowed, descriptor))
        kernel.call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), attributes, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)
