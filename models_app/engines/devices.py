"""Devices of this machine: memory, limits of its container, GPUs. Sizes are bytes; nothing is cached."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pynvml

_CGROUPS = Path("/sys/fs/cgroup")
# The files of cgroup v2 and v1: the limit, the usage, and the name of the page cache in memory.stat.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
)


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of a process: its resident set, and the part that the kernel cannot drop (not mapped from files)."""

    resident: int
    own: int


def memory() -> tuple[int, int]:
    """Total and available memory of the machine, or of the container if that has less."""
    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    for limit, left in _container_limits():
        total, free = min(total, limit), min(free, left)
    return total, free


def held(pid: int) -> Held | None:
    """The memory of a process; None when it does not exist."""
    try:
        found = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return Held(resident=int(found.rss), own=int(found.rss - found.shared))


def offloads() -> bool:
    """Whether llama.cpp was built for NVIDIA GPUs, from its files: nothing is loaded into this process."""
    found = find_spec("llama_cpp")
    places = (found.submodule_search_locations if found else None) or ()
    return any(next(Path(place).glob("lib/*ggml-cuda*"), None) for place in places)


def gpus() -> list[dict[str, Any]]:
    """The NVIDIA GPUs as {"index", "name", "memory_total_bytes", "memory_free_bytes"}; empty without a driver."""
    try:
        with _driver():
            return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> dict[str, Any]:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    return {
        "index": index,
        "name": pynvml.nvmlDeviceGetName(device),
        "memory_total_bytes": int(memory.total),
        "memory_free_bytes": int(memory.free),
    }


def _container_limits() -> Iterator[tuple[int, int]]:
    """(limit, left) of this process's control group and of each of its parents that has a limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, kinds, path = line.split(":", 2)
        if number == "0" or "memory" in kinds.split(","):
            root = _CGROUPS if number == "0" else _CGROUPS / "memory"
            group = root / path.lstrip("/")
            for place in (group, *group.parents):
                if place.is_relative_to(root):
                    yield from _limits_of(place)


def _limits_of(group: Path) -> Iterator[tuple[int, int]]:
    for limit_file, used_file, cached in _CGROUP_FILES:
        # A missing file, or "max": no limit.
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int((group / name).read_text()) for name in (limit_file, used_file))
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield limit, max(0, limit - used + int(stat.get(cached, 0)))
