"""What this machine has: memory and GPUs. Sizes are bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import pynvml


def memory() -> tuple[int, int]:
    """Memory of the machine, and what of it can be had now."""
    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


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
