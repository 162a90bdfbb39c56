"""Computes a runner's parameters from a model's header and its load options."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models_app.domain.catalog import memory
from models_app.domain.catalog.gguf import GgufMetadata
from models_app.domain.catalog.options import DEFAULT_CONTEXT, LoadOptions
from models_app.engines.spec import RunnerSpec

# Requests decoded at once: where the aggregate speed of a small model on a CPU stops growing (measured).
DEFAULT_SLOTS = 16
# llama.cpp's own default; larger steps make running streams wait longer for a long prompt.
DEFAULT_BATCH = 512
# llama.cpp rounds a cache up to a multiple of this number of tokens.
CONTEXT_STEP = 256


def plan(
    metadata: GgufMetadata,
    options: LoadOptions,
    *,
    instance_id: str,
    model: str,
    fingerprint: str,
    path: Path,
    socket: Path,
) -> RunnerSpec:
    """The complete parameters; defaults fill what the options omit."""
    n_ctx = options.n_ctx or min(metadata.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    n_batch = options.n_batch or DEFAULT_BATCH
    if not metadata.causal:
        # An encoder sees its whole input at once: it must fit one batch.
        n_batch = max(n_batch, n_ctx)
    return RunnerSpec(
        instance_id=instance_id,
        model=model,
        fingerprint=fingerprint,
        path=str(path),
        socket=str(socket),
        n_ctx=n_ctx,
        slots=options.slots or DEFAULT_SLOTS,
        n_batch=min(n_batch, n_ctx),
        n_threads=options.n_threads or len(os.sched_getaffinity(0)),
        n_gpu_layers=-1 if options.n_gpu_layers is None else options.n_gpu_layers,
    )


def memory_need(metadata: GgufMetadata, spec: RunnerSpec) -> memory.MemoryNeed:
    """The estimate for a runner with these parameters, in bytes."""
    return memory.estimate(
        metadata.shape(),
        context_tokens=spec.n_ctx,
        batch_tokens=spec.n_batch,
        slots=spec.slots,
    )


def largest_context(
    metadata: GgufMetadata, spec: RunnerSpec, *, fits: Callable[[memory.MemoryNeed], bool]
) -> int | None:
    """The largest context, in steps of `CONTEXT_STEP` tokens, below that of `spec` that `fits`; None when none does."""
    low, high = 0, (spec.n_ctx - 1) // CONTEXT_STEP
    while low < high:
        middle = (low + high + 1) // 2
        smaller = replace(spec, n_ctx=middle * CONTEXT_STEP)
        if fits(memory_need(metadata, smaller)):
            low = middle
        else:
            high = middle - 1
    return low * CONTEXT_STEP or None
