"""Estimates the memory of a local model from its header. Sizes are bytes.

The estimate is for a runner that has been used, for answers and for embeddings: the weights (mapped from the file and
read entirely by the load), the KV cache, llama.cpp's compute and output buffers, and the program itself. Until its
first embedding a model that also generates takes up to 128 MiB less.
"""

from __future__ import annotations

from dataclasses import dataclass

# Python, llama.cpp and its libraries: a runner without a model (measured: 52 to 60 MiB).
RUNNER_BASE_BYTES = 57 * 1024 * 1024
# Per token of the vocabulary, with its text and its table entries (measured over 32,000 to 120,000 tokens).
_TOKEN_BYTES = 230
_F16_BYTES = 2
_F32_BYTES = 4
# llama.cpp computes logits for every token it embeds, needed or not. This bounds their buffer, which is never freed.
_EMBEDDING_LOGITS_BYTES = 64 * 1024 * 1024
# Activations of a batch that are held at the same time where the feed-forward part is widest (in feed-forward widths
# and in embedding widths), and in the attention (in embedding widths): from llama.cpp's own figures.
_FEED_FORWARD_COPIES = 3
_EMBEDDING_COPIES = 3.5
_ATTENTION_COPIES = 6
# Feed-forward width of most models, in embedding widths, where the header has none.
_USUAL_FEED_FORWARD = 4


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a GGUF header that determine memory; heads and lengths have llama.cpp's names."""

    file_bytes: int
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocab_size: int
    feed_forward_length: int = 0
    causal: bool = True


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The parts of an estimate, in bytes."""

    weights: int
    kv_cache: int
    compute: int
    program: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute + self.program


def embedding_rows(*, batch_tokens: int, vocab_size: int, causal: bool) -> int:
    """Tokens that can be embedded in one step. An encoder needs its whole input in one step."""
    if not causal:
        return batch_tokens
    return min(batch_tokens, max(32, _EMBEDDING_LOGITS_BYTES // (_F32_BYTES * max(1, vocab_size))))


def batch_size(*, batch_tokens: int, slots: int) -> int:
    """Tokens of one step of llama.cpp: one token of every slot and a part of a prompt must fit."""
    return max(batch_tokens, 2 * slots)


def estimate(shape: ModelShape, *, context_tokens: int, batch_tokens: int, slots: int = 1) -> MemoryNeed:
    """Memory of one runner whose cache holds `context_tokens` tokens over all of its slots.

    The cache stores one key and one value vector per token, layer and key/value head, in F16.
    """
    per_token = shape.block_count * shape.head_count_kv * (shape.key_length + shape.value_length) * _F16_BYTES
    return MemoryNeed(
        weights=shape.file_bytes,
        kv_cache=per_token * context_tokens,
        compute=_compute(shape, context_tokens, batch_tokens, slots),
        program=RUNNER_BASE_BYTES + shape.vocab_size * _TOKEN_BYTES,
    )


def _compute(shape: ModelShape, context_tokens: int, batch_tokens: int, slots: int) -> int:
    """The larger of the two peaks of llama.cpp: inside a layer, and at the logits."""
    batch = batch_size(batch_tokens=batch_tokens, slots=slots)
    width = shape.embedding_length
    feed_forward = shape.feed_forward_length or _USUAL_FEED_FORWARD * width
    activations = max(_FEED_FORWARD_COPIES * feed_forward + _EMBEDDING_COPIES * width, _ATTENTION_COPIES * width)
    # The attention mask, in F16.
    mask = context_tokens * batch * _F16_BYTES
    embedded = embedding_rows(batch_tokens=batch_tokens, vocab_size=shape.vocab_size, causal=shape.causal)
    logits = max(slots, embedded) * shape.vocab_size * _F32_BYTES
    # They are computed, and copied for the program. An encoder has none to copy.
    copied = logits if shape.causal else 0
    return int(max(batch * activations * _F32_BYTES + mask, logits + batch * width * _F32_BYTES) + copied)
