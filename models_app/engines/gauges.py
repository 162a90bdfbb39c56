"""Reads memory and energy while something is measured. No Django, no database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

POWERCAP = Path("/sys/class/powercap")
# Between looks. A peak shorter than this may be missed; a look costs some microseconds.
_LOOK_SECONDS = 0.25
# To share out mapped pages the kernel walks through all of them: milliseconds for a large model.
_PSS_EVERY = 8

Joules = Callable[[], float]


@dataclass(slots=True)
class Reading:
    """Peaks in bytes, energy in joules; None with a reason where it cannot be read.

    energy_source  `rapl` or `nvml`: the whole processor packages or GPUs, with whatever else runs on them
    """

    rss_bytes: int | None = None
    pss_bytes: int | None = None
    memory_reason: str = ""
    energy_joules: float | None = None
    energy_source: str = ""
    energy_reason: str = ""


class Watch:
    """Looks at one process and at the machine's energy counters: `with Watch(pid) as watch: …`, then `watch.reading`.

    pid         None when the process is not on this machine; `why_not` then says so
    started_at  Unix seconds as the kernel counts them: a process id that was used again is another process
    """

    def __init__(self, pid: int | None, *, started_at: float | None, why_not: str = "") -> None:
        self.reading = Reading(memory_reason=why_not)
        self._process = self._find(pid, started_at) if pid else None
        self._counters = list(energy_counters())
        self._ended = threading.Event()
        self._looks = 0
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def __enter__(self) -> Watch:
        if self._counters:
            self.reading.energy_joules = 0.0
            self.reading.energy_source = "+".join(sorted({one.source for one in self._counters}))
        else:
            self.reading.energy_reason = (
                "No energy counter can be read: NOA looks at Intel RAPL (readable by root on most systems) and NVML."
            )
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _find(self, pid: int, started_at: float | None) -> psutil.Process | None:
        try:
            process = psutil.Process(pid)
            # The kernel counts in hundredths of a second.
            if started_at is None or abs(process.create_time() - started_at) < 1:
                return process
        except psutil.Error:
            pass
        self.reading.memory_reason = "The model's process is not on this machine, or has ended."
        return None

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        if self._process:
            with contextlib.suppress(psutil.Error):
                self._look_at_memory(self._process)
        for counter in self._counters:
            self.reading.energy_joules = (self.reading.energy_joules or 0.0) + counter.since_last()
        self._looks += 1

    def _look_at_memory(self, process: psutil.Process) -> None:
        reading = self.reading
        reading.rss_bytes = max(reading.rss_bytes or 0, process.memory_info().rss)
        if self._looks % _PSS_EVERY == 0:
            reading.pss_bytes = max(reading.pss_bytes or 0, process.memory_full_info().pss)


class Counter:
    """A counter of joules that begins again at `wraps_at`; None when it never does."""

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
    """Of the processor packages (not their parts, which they contain) and of the GPUs, those that can be read."""
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
    # Loads a library of the driver: only who measures pays for it.
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return
    for number in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        # Cards older than Volta do not count.
        with contextlib.suppress(pynvml.NVMLError):
            yield Counter("nvml", partial(_gpu_joules, handle))


def _gpu_joules(handle: object) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
