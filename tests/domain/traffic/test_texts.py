"""Which rule stores the texts of a request."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from models_app.domain.traffic.texts import CapturedText, TextRule, chosen, of_key, of_route

OF_KEY, OF_ROUTE = TextRule(0.25, 100, 7), TextRule(0.5, 200, 30)


@pytest.mark.parametrize(
    ("rules", "chance", "expected"),
    [
        ({}, 0.0, None),
        ({of_key("k"): OF_KEY}, 0.0, OF_KEY),
        ({of_key("k"): OF_KEY}, 0.2499, OF_KEY),
        ({of_key("k"): OF_KEY}, 0.25, None),
        ({of_route("r"): OF_ROUTE}, 0.4999, OF_ROUTE),
        ({of_route("r"): OF_ROUTE}, 0.5, None),
        ({of_key("k"): OF_KEY, of_route("r"): OF_ROUTE}, 0.1, OF_KEY),
        ({of_key("k"): OF_KEY, of_route("r"): OF_ROUTE}, 0.3, OF_ROUTE),
        ({of_key("k"): OF_KEY, of_route("r"): OF_ROUTE}, 0.9, None),
        ({of_key("k"): TextRule(0.0, 100, 7)}, 0.0, None),
        ({of_key("k"): TextRule(1.0, 100, 7)}, 0.9999, TextRule(1.0, 100, 7)),
        # A route that is called as a key, and the other way round.
        ({of_key("r"): OF_KEY, of_route("k"): OF_ROUTE}, 0.0, None),
    ],
)
def test_the_rule_of_the_key_comes_before_that_of_the_route(
    rules: Mapping[str, TextRule], chance: float, expected: TextRule | None
) -> None:
    assert chosen(rules, key_id="k", route="r", chance=chance) == expected


def test_a_text_is_in_no_representation() -> None:
    text = CapturedText("request", 0.0, "key", "route", "p:m", 7, b"the prompt", b"the answer", False)
    assert "the prompt" not in repr(text)
    assert "the answer" not in repr(text)
