"""Samples memory and energy during a measurement. No Django, no database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from models_app.engines import identity
from models_app.threads import RepeatingThread

POWERCAP = Path("/sys/class/powercap")
# Between samples. A shorter peak can be missed; a sample costs some microseconds.
_INTERVAL_SECONDS = 0.25
# Every n-th sample reads PSS: for it the kernel walks all mapped pages, milliseconds for a large model.
_PSS_EVERY = 8

Joules = Callable[[], float]


@dataclass(slots=True)
class Reading:
    """Peaks in bytes, energy in joules; None, with a reason, for a figure that cannot be read.

    energy_source  `rapl` or `nvml`: whole processor packages or GPUs, including other processes
    """

    rss_bytes: int | None = None
    pss_bytes: int | None = None
    memory_reason: str = ""
    energy_joules: float | None = None
    energy_source: str = ""
    energy_reason: str = ""


class Watch:
    """Samples one process and the machine's energy counters: `with Watch(pid) as watch: …`, then `watch.reading`.

    pid      None when the process is not on this machine; `why_not` is then the reason
    known    the identity of the process, to detect a reused id; empty if it is unknown
    """

    def __init__(self, pid: int | None, *, known: str = "", why_not: str = "") -> None:
        self.reading = Reading(memory_reason=why_not)
        self._process = self._find(pid, known) if pid else None
        self._counters = list(energy_counters())
        self._samples = 0
        self._thread = RepeatingThread("gauges", self._sample, lambda: _INTERVAL_SECONDS)

    def __enter__(self) -> Watch:
        if self._counters:
            self.reading.energy_joules = 0.0
            self.reading.energy_source = "+".join(sorted({counter.source for counter in self._counters}))
        else:
            self.reading.energy_reason = (
                "No energy counter can be read: NOA uses Intel RAPL (readable by root on most systems) and NVML."
            )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()
        self._sample()

    def _find(self, pid: int, known: str) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if not identity.is_of(known, pid) or identity.is_running(known):
                return process
        self.reading.memory_reason = "The model's process is not on this machine, or has ended."
        return None

    def _sample(self) -> None:
        if self._process:
            with contextlib.suppress(psutil.Error):
                self._sample_memory(self._process)
        for counter in self._counters:
            self.reading.energy_joules = (self.reading.energy_joules or 0.0) + counter.since_last()
        self._samples += 1

    def _sample_memory(self, process: psutil.Process) -> None:
        reading = self.reading
        reading.rss_bytes = max(reading.rss_bytes or 0, process.memory_info().rss)
        if self._samples % _PSS_EVERY == 0:
            reading.pss_bytes = max(reading.pss_bytes or 0, process.memory_full_info().pss)


class Counter:
    """A counter of joules that wraps around at `wraps_at`; None when it never does."""

    def __init__(self, source: str, read: Joules, wraps_at: float | None = None) -> None:
        self.source = source
        self._read, self._wraps_at = read, wraps_at
        self._last = read()

    def since_last(self) -> float:
        now = self._read()
        used = now - self._last
        self._last = now
        return used if used >= 0 else used + (self._wraps_at or 0.0)


def energy_counters(folder: Path = POWERCAP) -> Iterator[Counter]:
    """The readable counters of processor packages (without their parts, which they include) and of GPUs."""
    for zone in sorted(folder.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:
            with contextlib.suppress(OSError, ValueError):
                yield _rapl(zone)
    yield from _gpus()


def _rapl(zone: Path) -> Counter:
    def joules(name: str) -> float:
        return int((zone / name).read_text()) / 1e6

    return Counter("rapl", lambda: joules("energy_uj"), joules("max_energy_range_uj"))


def _gpus() -> Iterator[Counter]:
    # It loads a library of the driver, so only measurements import it.
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return
    for number in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        # Cards older than Volta have no counter.
        with contextlib.suppress(pynvml.NVMLError):
            yield Counter("nvml", partial(_gpu_joules, handle))


def _gpu_joules(handle: object) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
