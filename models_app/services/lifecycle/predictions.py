"""Predicts memory and duration of a load from the model's header, corrected by measurements of earlier loads."""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from django.conf import settings

from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.catalog.memory import MemoryNeed
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.admission import Memory
from models_app.engines import devices, llamacpp
from models_app.engines.spec import RunnerSpec
from models_app.models import Instance, LoadMeasurement, ModelVersion
from models_app.services.catalog import model_files

# The newest loads of the same kind: enough to outweigh an outlier, few enough to follow a machine that changes.
_NEWEST = 5
# The newest loads of a node, from which the speed of its disk and processor is estimated.
_NEWEST_OF_NODE = 20
# Defaults without measurements: to start a runner, and to read and map weights (measured: 0.4 s, and 1 to 3 GB/s).
_START_SECONDS = 0.5
_BYTES_PER_SECOND = 1_000_000_000
# Below this size the time of a load is that of a process start, and says nothing about the disk's speed.
_LARGE_FILE = 50_000_000
# Rows of one kind that are kept.
_KEPT = 50


@dataclass(frozen=True, slots=True)
class Prediction:
    """`measured`: whether loads of the same version, options and engine have been measured on this node."""

    memory: Memory
    seconds: float
    measured: bool


def spec_for(
    *,
    version: ModelVersion,
    options: LoadOptions,
    instance: Instance | None = None,
    socket: Path = Path(),
) -> RunnerSpec:
    """The runner that a load of this instance starts; without an instance, only the numbers to compute with."""
    return llamacpp.plan(
        GgufMetadata.from_dict(version.header),
        options,
        instance_id=str(instance.pk) if instance else "",
        model=version.model.key,
        fingerprint=instance.fingerprint if instance else "",
        path=model_files.path_here(version) if instance else Path(version.path),
        socket=socket,
    )


def predict(*, version: ModelVersion, spec: RunnerSpec) -> Prediction:
    metadata = GgufMetadata.from_dict(version.header)
    need = _split(llamacpp.memory_need(metadata, spec), metadata, spec)
    known = LoadMeasurement.objects.filter(node=settings.NOA_NODE, version=version.sha256)
    same = list(known.filter(shape=shape_of(spec))[:_NEWEST])
    if same:
        # The next load can need as much as the largest of them.
        need = Memory(ram=max(row.memory_bytes for row in same), vram=need.vram)
        return Prediction(need, statistics.median(row.load_seconds for row in same), True)
    times = list(known.values_list("load_seconds", flat=True)[:_NEWEST])
    seconds = statistics.median(times) if times else _seconds_for(metadata.total_bytes)
    return Prediction(need, seconds, False)


def largest_context(*, version: ModelVersion, spec: RunnerSpec, room: Memory) -> int | None:
    """The largest `n_ctx` below the one of `spec` whose estimate fits into `room`; None when none does."""
    metadata = GgufMetadata.from_dict(version.header)
    return llamacpp.largest_context(metadata, spec, fits=lambda need: _split(need, metadata, spec).fits_into(room))


def record(*, version: ModelVersion, spec: RunnerSpec, memory_bytes: int, seconds: float) -> None:
    """Store the measurements of a load."""
    metadata = GgufMetadata.from_dict(version.header)
    kind = {
        "node": settings.NOA_NODE,
        "version": version.sha256,
        "shape": shape_of(spec),
    }
    LoadMeasurement.objects.create(
        **kind, memory_bytes=memory_bytes, load_seconds=seconds, file_bytes=metadata.total_bytes
    )
    old = LoadMeasurement.objects.filter(**kind).values_list("pk", flat=True)[_KEPT:]
    LoadMeasurement.objects.filter(pk__in=list(old)).delete()


def record_peak(*, instance: Instance, memory_bytes: int) -> None:
    """Raise the newest measurement of this kind of load: its runner now holds more memory than after the load."""
    version = instance.version
    if version is None:
        return
    spec = spec_for(version=version, options=LoadOptions.parse(instance.options))
    newest = LoadMeasurement.objects.filter(
        node=settings.NOA_NODE, version=version.sha256, shape=shape_of(spec)
    ).first()
    if newest is not None and newest.memory_bytes < memory_bytes:
        LoadMeasurement.objects.filter(pk=newest.pk).update(memory_bytes=memory_bytes)


def shape_of(spec: RunnerSpec) -> str:
    """A digest of everything but the file that decides a runner's memory."""
    build = version_of("llama-cpp-python")
    parts = [spec.n_ctx, spec.slots, spec.n_batch, spec.n_gpu_layers, build]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _split(need: MemoryNeed, metadata: GgufMetadata, spec: RunnerSpec) -> Memory:
    """Split the need into RAM and VRAM: weights and cache lie with their layers, and the output layer is one more."""
    if spec.n_gpu_layers == 0 or not devices.offloads() or not devices.gpus():
        return Memory(ram=need.total)
    layers = metadata.block_count + 1
    share = 1.0 if spec.n_gpu_layers < 0 else min(1.0, spec.n_gpu_layers / layers)
    moved = int((need.weights + need.kv_cache) * share) + need.compute
    return Memory(ram=need.total - moved, vram=moved)


def _seconds_for(file_bytes: int) -> float:
    """The predicted seconds for a file of this size that this node has not loaded yet."""
    rows = LoadMeasurement.objects.filter(node=settings.NOA_NODE)[:_NEWEST_OF_NODE]
    times = [(row.file_bytes, row.load_seconds) for row in rows]
    start = min((seconds for size, seconds in times if size < _LARGE_FILE), default=_START_SECONDS)
    speeds = [size / max(0.1, seconds - start) for size, seconds in times if size >= _LARGE_FILE]
    return start + file_bytes / (statistics.median(speeds) if speeds else _BYTES_PER_SECOND)
