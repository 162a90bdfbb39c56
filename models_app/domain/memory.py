"""How much memory a local model will need, computed from its header. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

# Python, llama.cpp and the vocabulary of a runner that holds a model of no size (measured: 50 to 90 MB).
RUNNER_BASE_BYTES = 90 * 1024 * 1024
_F16_BYTES = 2


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a GGUF header that decide its memory; heads and lengths as llama.cpp names them."""

    file_bytes: int
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The parts of an estimate, in bytes."""

    weights: int
    kv_cache: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + RUNNER_BASE_BYTES


def estimate(shape: ModelShape, *, context_tokens: int, batch_tokens: int) -> MemoryNeed:
    """Memory of one runner whose cache holds `context_tokens` tokens over all of its slots.

    The cache stores one key and one value vector per token, layer and key/value head, in F16. The
    compute buffer is dominated by the logits and the widest activation of one batch, in F32.
    """
    per_token = (
        shape.block_count
        * shape.head_count_kv
        * (shape.key_length + shape.value_length)
        * _F16_BYTES
    )
    widest = max(shape.vocab_size, 4 * shape.embedding_length)
    return MemoryNeed(
        weights=shape.file_bytes,
        kv_cache=per_token * context_tokens,
        compute=batch_tokens * widest * 4,
    )
