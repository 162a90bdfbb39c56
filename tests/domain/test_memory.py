"""The memory of a model, from its shape."""

from __future__ import annotations

from models_app.domain.memory import RUNNER_BASE_BYTES, ModelShape, estimate

SHAPE = ModelShape(
    file_bytes=1000,
    block_count=2,
    embedding_length=64,
    head_count=4,
    head_count_kv=2,
    key_length=16,
    value_length=16,
    vocab_size=512,
)


def test_the_cache_grows_with_the_context() -> None:
    small = estimate(SHAPE, context_tokens=100, batch_tokens=10)
    large = estimate(SHAPE, context_tokens=200, batch_tokens=10)
    # 2 layers x 2 heads x (16 + 16) numbers of 2 bytes a token
    assert small.kv_cache == 100 * 256
    assert large.kv_cache == 2 * small.kv_cache
    assert large.weights == small.weights == 1000


def test_the_total_has_every_part() -> None:
    need = estimate(SHAPE, context_tokens=100, batch_tokens=10)
    assert need.compute == 10 * 512 * 4
    assert need.total == need.weights + need.kv_cache + need.compute + RUNNER_BASE_BYTES
