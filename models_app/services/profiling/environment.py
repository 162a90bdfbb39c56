"""The conditions of a profile's measurements, on which its figures depend."""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil
from django.conf import settings

from models_app.domain.errors import RunnerDied
from models_app.domain.traffic.routing import Target
from models_app.engines import control
from models_app.engines.gauges import Reading, Watch
from models_app.models import Instance
from models_app.services.coordination import connections
from models_app.services.profiling import subjects


def of(instance: Instance, target: Target) -> dict[str, Any]:
    """Engine, version, options, node and machine, and their other load."""
    version = instance.version
    return {
        "engine": subjects.engine_of(target),
        "instance": str(instance.pk),
        "node": instance.node,
        "measured_from": settings.NOA_NODE,
        "options": instance.options,
        "context_tokens": instance.context_tokens,
        "slots": instance.slots,
        "load_seconds": instance.load_seconds,
        "sha256": version.sha256 if version else None,
        "quantization": version.quantization if version else None,
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "before": load_of_machine() | {"in_flight": _in_flight(instance)},
    }


def load_of_machine() -> dict[str, Any]:
    """Load averages over 1, 5 and 15 minutes, and bytes of available memory."""
    return {
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "memory_available_bytes": psutil.virtual_memory().available,
    }


def watch(instance: Instance) -> Watch:
    """Gauges of the instance's process and of the machine's energy."""
    if not instance.pid:
        return Watch(None, why_not="The model does not run in a process of NOA.")
    if instance.node != settings.NOA_NODE:
        why = f"The model runs on node '{instance.node}', and was measured from '{settings.NOA_NODE}'."
        return Watch(None, why_not=why)
    return Watch(instance.pid, known=instance.pid_identity)


def represent(reading: Reading, *, tokens: int) -> dict[str, Any]:
    """The readings while one stage generated `tokens` tokens; null with a reason where nothing can be read."""
    joules = reading.energy_joules
    return {
        "peak_memory": {
            "rss_bytes": reading.rss_bytes,
            "pss_bytes": reading.pss_bytes,
            "reason": reading.memory_reason,
        },
        "energy": {
            "joules": None if joules is None else round(joules, 3),
            "joules_per_token": round(joules / tokens, 4) if joules is not None and tokens else None,
            "source": reading.energy_source,
            "reason": reading.energy_reason,
        },
    }


def _in_flight(instance: Instance) -> int | None:
    """Other requests in flight when the profile began; None where that is unknown."""
    if not instance.pid:
        return None
    try:
        connections.release()
        return int(control.health(instance.socket)["in_flight"])
    except (RunnerDied, KeyError):
        return None


def _processor() -> str:
    """The kernel's name of the processor; empty if it has none."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
