"""What a header says about what a model can do."""

from __future__ import annotations

import pytest

from models_app.domain.capabilities import infer_from_gguf

CHAT = ["text_generation", "chat_completion", "streaming", "json_mode"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["text_generation", "streaming", "json_mode"]),
        ({"chat_template": "{{ messages }}"}, CHAT),
        (
            {"chat_template": "{{ tools }}<think>"},
            ["text_generation", "chat_completion", "function_calling", "streaming", "json_mode", "reasoning"],
        ),
        ({"pooling_type": 1, "causal": False}, ["embeddings"]),
        ({"pooling_type": 1}, ["text_generation", "embeddings", "streaming", "json_mode"]),
        ({"pooling_type": 0}, ["text_generation", "streaming", "json_mode"]),
        ({"pooling_type": 4, "causal": False}, ["rerank"]),
        ({"architecture": "clip"}, []),
        ({"has_fill_in_middle": True}, ["text_generation", "streaming", "json_mode", "fill_in_middle"]),
    ],
)  # fmt: skip
def test_it_infers(fields: dict[str, object], expected: list[str]) -> None:
    header = {
        "architecture": "llama", "pooling_type": None, "causal": True, "chat_template": None,
        "has_fill_in_middle": False,
    }  # fmt: skip
    assert infer_from_gguf(**(header | fields)) == expected  # type: ignore[arg-type]
