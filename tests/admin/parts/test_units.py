from __future__ import annotations

import pytest

from models_app.admin.parts import units


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (4_683_073_184, "4.4 GiB"), (3 * 2**50, "3072.0 TiB")],
)
def test_sizes_are_told_in_binary_units(number: int | None, text: str) -> None:
    assert units.size(number).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (512, "512"),
        (8192, "8K"),
        (131_072, "128K"),
        (128_000, "128,000"),
        (1_048_576, "1,024K"),
        (5000, "5,000"),
    ],
)
def test_tokens_are_told_as_model_cards_do(number: int | None, text: str) -> None:
    assert units.tokens(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (0.0, "0 ms"), (0.0435, "44 ms"), (3.21, "3.2 s"), (95.4, "1 min 35 s")],
)
def test_durations_are_rounded_for_people(number: float | None, text: str) -> None:
    assert units.seconds(number).replace("\xa0", " ") == text
