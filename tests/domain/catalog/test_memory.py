"""The memory of a model, from its shape."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.catalog.memory import RUNNER_BASE_BYTES, ModelShape, batch_size, embedding_rows, estimate

SHAPE = ModelShape(
    file_bytes=1000,
    block_count=2,
    embedding_length=64,
    head_count=4,
    head_count_kv=2,
    key_length=16,
    value_length=16,
    vocab_size=512,
    feed_forward_length=1000,
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
    # Three feed-forward widths and three and a half of the embedding for each token, a mask in F16, and the program's
    # copy of the logits of each.
    assert need.compute == 10 * (3 * 1000 + 224) * 4 + 100 * 10 * 2 + 10 * 512 * 4
    assert need.program == RUNNER_BASE_BYTES + 512 * 230
    assert need.total == need.weights + need.kv_cache + need.compute + need.program


def test_an_unknown_feed_forward_width_is_taken_as_usual() -> None:
    unknown = ModelShape(**{**vars_of(SHAPE), "feed_forward_length": 0})
    usual = ModelShape(**{**vars_of(SHAPE), "feed_forward_length": 4 * 64})
    assert estimate(unknown, context_tokens=100, batch_tokens=10) == estimate(
        usual, context_tokens=100, batch_tokens=10
    )


def test_the_logits_of_many_sequences_can_be_what_counts() -> None:
    wide = ModelShape(**{**vars_of(SHAPE), "vocab_size": 200_000})
    need = estimate(wide, context_tokens=64, batch_tokens=32, slots=16)
    # Of every token that is embedded in one step, computed and copied.
    assert need.compute == 2 * 32 * 200_000 * 4 + 32 * 64 * 4
    many = estimate(wide, context_tokens=64, batch_tokens=32, slots=40)
    assert many.compute == 2 * 40 * 200_000 * 4 + 80 * 64 * 4


def test_a_step_has_room_for_a_token_of_every_slot_and_for_a_prompt() -> None:
    assert batch_size(batch_tokens=32, slots=64) == 128
    assert batch_size(batch_tokens=512, slots=64) == 512


def test_an_encoder_has_logits_for_every_token_of_a_step() -> None:
    wide = {**vars_of(SHAPE), "vocab_size": 200_000}
    for slots, causal, copies in ((1, True, 2), (16, True, 2), (1, False, 1), (16, False, 1)):
        shape = ModelShape(**{**wide, "causal": causal})
        need = estimate(shape, context_tokens=64, batch_tokens=32, slots=slots)
        assert need.compute == copies * 32 * 200_000 * 4 + 32 * 64 * 4
    assert estimate(SHAPE, context_tokens=64, batch_tokens=1) == estimate(
        SHAPE, context_tokens=64, batch_tokens=1, slots=1
    )


def test_the_attention_is_the_peak_where_the_feed_forward_part_is_narrow() -> None:
    narrow = ModelShape(**{**vars_of(SHAPE), "feed_forward_length": 8, "vocab_size": 16})
    need = estimate(narrow, context_tokens=100, batch_tokens=10)
    assert need.compute == 10 * 6 * 64 * 4 + 100 * 10 * 2 + 10 * 16 * 4


@pytest.mark.parametrize(
    ("batch_tokens", "vocab_size", "causal", "rows"),
    [
        (512, 200_000, False, 512),
        (512, 200_000, True, 83),
        (64, 200_000, True, 64),
        (512, 10**9, True, 32),
        (16, 10**9, True, 16),
        (10**9, 0, True, 16 * 1024 * 1024),
        (10**9, 1, True, 16 * 1024 * 1024),
        (10**9, 2, True, 8 * 1024 * 1024),
    ],
)
def test_the_logits_of_embedded_tokens_are_bounded(batch_tokens: int, vocab_size: int, causal: bool, rows: int) -> None:
    found = embedding_rows(batch_tokens=batch_tokens, vocab_size=vocab_size, causal=causal)
    assert found == rows
    assert type(found) is int


def vars_of(shape: ModelShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in ModelShape.__dataclass_fields__}
