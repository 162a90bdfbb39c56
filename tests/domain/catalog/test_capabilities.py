"""Capabilities from the header of a file."""

from __future__ import annotations

import pytest

from models_app.domain.catalog.capabilities import (
    Word,
    believed,
    infer_from_gguf,
    is_proven,
    is_supported,
    is_tested,
)

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
        ({"architecture": "mmproj"}, []),
        ({"has_fill_in_middle": True}, ["text_generation", "streaming", "json_mode", "fill_in_middle"]),
    ],
)
def test_it_infers(fields: dict[str, object], expected: list[str]) -> None:
    header = {
        "architecture": "llama",
        "pooling_type": None,
        "causal": True,
        "chat_template": None,
        "has_fill_in_middle": False,
    }
    assert infer_from_gguf(**(header | fields)) == expected  # type: ignore[arg-type]


def word(source: str, verdict: str, *, fresh: bool = True) -> Word:
    return Word(source, verdict, fresh)


@pytest.mark.parametrize(
    ("words", "registered", "supported", "proven"),
    [
        ([], False, False, False),
        ([], True, True, False),
        ([word("metadata", "supported")], True, True, False),
        ([word("probed", "supported")], False, True, True),
        ([word("metadata", "supported"), word("probed", "unsupported")], True, False, False),
        ([word("probed", "inconclusive")], True, True, False),
        ([word("probed", "unsupported", fresh=False)], True, True, False),
        ([word("probed", "supported", fresh=False)], False, False, False),
    ],
)
def test_a_probe_of_the_present_version_decides(
    words: list[Word], registered: bool, supported: bool, proven: bool
) -> None:
    assert is_supported(words, registered=registered) is supported
    assert is_proven(words) is proven


@pytest.mark.parametrize(
    ("words", "tested"),
    [
        ([], False),
        ([word("metadata", "supported")], False),
        ([word("probed", "inconclusive")], False),
        ([word("probed", "supported", fresh=False)], False),
        ([word("probed", "supported")], True),
        ([word("declared", "supported"), word("probed", "unsupported")], True),
    ],
)
def test_a_conclusive_probe_of_the_present_version_tests(words: list[Word], tested: bool) -> None:
    assert is_tested(words) is tested


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        ([word("probed", "inconclusive")], None),
        ([word("metadata", "unsupported")], "unsupported"),
        ([word("metadata", "unsupported"), word("declared", "supported")], "supported"),
        ([word("declared", "supported"), word("probed", "unsupported")], "unsupported"),
        (
            [word("declared", "supported"), word("probed", "unsupported", fresh=False)],
            "unsupported",
        ),
        ([word("declared", "supported"), word("probed", "inconclusive")], "supported"),
    ],
)
def test_the_last_conclusive_probe_goes_before_claims(words: list[Word], expected: str | None) -> None:
    assert believed(words) == expected
