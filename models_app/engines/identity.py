"""Which process a stored process id belongs to. No Django, no database.

The kernel reuses process ids, so an id is stored together with the start of its process. The start is counted in
clock ticks since the boot, and the boot has an id: both stay what they are when the wall clock is set. A start in Unix
seconds does not: the kernel computes the time of the boot from the wall clock, so all starts move with it.
"""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
# Fields of /proc/PID/stat after the command, whose name can contain anything.
_STATE, _STARTTIME = 0, 19
# The process has ended: a zombie, which waits for its parent, or one that is being removed.
_ENDED = frozenset("ZXx")


def of(pid: int, *, proc: Path = PROC) -> str | None:
    """`PID START BOOT`: the id, the start in clock ticks since the boot, and the boot's id; None if it has ended."""
    found = _stat(pid, proc)
    if found is None or found[_STATE] in _ENDED:
        return None
    return f"{pid} {found[_STARTTIME]} {_boot(proc)}"


def is_of(identity: str, pid: int) -> bool:
    """Whether this identity was stored with this id.

    Rows of versions that had no identities have none, and one of those versions can have replaced the id alone.
    """
    return identity.startswith(f"{pid} ")


def is_running(identity: str, *, proc: Path = PROC) -> bool:
    """Whether the process with this identity is alive; another start or boot means another process."""
    return bool(identity) and of(int(identity.split(" ", 1)[0]), proc=proc) == identity


def has_argument(pid: int, text: str, *, proc: Path = PROC) -> bool:
    """Whether the command line of a process contains this text."""
    try:
        return text.encode() in (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def _stat(pid: int, proc: Path) -> list[str] | None:
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot(proc: Path) -> str:
    """Empty where the kernel does not show it; the start alone identifies the process then."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
