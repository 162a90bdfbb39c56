"""The limit of file descriptors of a process: raised at the start, and shared out between what it serves."""

from __future__ import annotations

import resource

# For the database, runners, logs, the spool and /proc, however many connections there are.
RESERVED = 128
# What one connection of a client can need: its socket, and the three files of a thread's SQLite connection, or another
# socket to a runner or provider.
PER_CONNECTION = 4
# A connection takes about 40 KiB of memory.
_MOST_CONNECTIONS = 8192
_FEWEST_CONNECTIONS = 16
# With an unlimited hard limit: what Linux allows by default (fs.nr_open).
_UNLIMITED = 1_048_576


def raise_limit() -> int:
    """Raises this process's soft limit to its hard limit, which child processes inherit; returns it.

    The usual soft limit of 1024 is for programs that use select(), which NOA's processes do only for single pipes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def connections(descriptors: int) -> int:
    """How many connections of clients a process with this many descriptors can have."""
    return max(_FEWEST_CONNECTIONS, min((descriptors - RESERVED) // PER_CONNECTION, _MOST_CONNECTIONS))
