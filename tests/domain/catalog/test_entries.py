"""Valid entries of models, and their stored form."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.catalog import entries
from models_app.domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("name", "  A name ", "A name"),
        ("name", None, ""),
        ("description", "two\nlines\tand\r\nmore", "two\nlines\tand\r\nmore"),
        ("capabilities", ["vision", "chat_completion", "vision"], ["chat_completion", "vision"]),
        ("capabilities", None, []),
        ("context_window", 1, 1),
        ("context_window", None, None),
        ("tags", ["B", "a", "b", " a "], ["b", "a"]),
        ("tags", ["Cafe\u0301", "caf\u00e9"], ["caf\u00e9"]),
        ("tags", None, []),
        ("metadata", None, {}),
        ("metadata", {"a": {"b": [1, 2.5, None, "\u00e9"]}}, {"a": {"b": [1, 2.5, None, "\u00e9"]}}),
        ("price", None, None),
        ("price", {"input": 0, "output": 0}, {"input": "0", "output": "0", "source": "operator"}),
        (
            "price",
            {"input": 1e-07, "output": "0.150", "cached_input": None, "cache_write": 3.75},
            {"input": "0.0000001", "output": "0.15", "cache_write": "3.75", "source": "operator"},
        ),
        (
            "price",
            {"input": 0.1 + 0.2, "output": 1e-12},
            {"input": "0.3", "output": "0", "source": "operator"},
        ),
        ("load_options", {"n_ctx": 512, "slots": None}, {"n_ctx": 512}),
        ("deprecated", True, True),
        ("deprecation_note", "Use\nanother.", "Use\nanother."),
    ],
)
def test_it_takes(field: str, given: Any, stored: Any) -> None:
    assert entries.parse_changes({field: given}) == {field: stored}


WRONG: list[tuple[str, Any, str]] = [
    ("name", 7, "name"),
    ("name", "a" * 191, "name"),
    ("name", "a\nb", "name"),
    ("name", "a\0b", "name"),
    ("name", "\x9b", "name"),
    ("description", "a\0", "description"),
    ("description", "\x1b[31m", "description"),
    ("description", "a" * 10_001, "description"),
    ("description", [], "description"),
    ("capabilities", "vision", "capabilities"),
    ("capabilities", ["flying"], "capabilities"),
    ("capabilities", [["vision"]], "capabilities"),
    ("capabilities", {"vision": True}, "capabilities"),
    ("context_window", 0, "context_window"),
    ("context_window", -1, "context_window"),
    ("context_window", 1.5, "context_window"),
    ("context_window", True, "context_window"),
    ("context_window", "8192", "context_window"),
    ("context_window", 2**63, "context_window"),
    ("max_output_tokens", 10**10, "max_output_tokens"),
    ("tags", "a", "tags"),
    ("tags", ["a"] * 65, "tags"),
    ("tags", ["a", ""], "tags[1]"),
    ("tags", ["a,b"], "tags[0]"),
    ("tags", ["a\nb"], "tags[0]"),
    ("tags", ["x" * 65], "tags[0]"),
    ("tags", [7], "tags[0]"),
    ("tags", [None], "tags[0]"),
    ("tags", ["\0"], "tags[0]"),
    ("metadata", [], "metadata"),
    ("metadata", "x", "metadata"),
    ("metadata", {"a": "\0"}, "metadata"),
    ("metadata", {"a\0": 1}, "metadata"),
    ("metadata", {"a": "x" * 65_536}, "metadata"),
    ("metadata", {"a": 2**64 - 1}, "metadata"),
    ("metadata", {"a": [{"b": 1e300}]}, "metadata"),
    ("price", 1, "price"),
    ("price", {}, "price"),
    ("price", {"input": 1}, "price"),
    ("price", {"input": 1, "output": -1}, "price.output"),
    ("price", {"input": "x", "output": 1}, "price.input"),
    ("price", {"input": True, "output": 1}, "price.input"),
    ("price", {"input": "NaN", "output": 1}, "price.input"),
    ("price", {"input": 1e9, "output": 1}, "price.input"),
    ("price", {"input": float("nan"), "output": 1}, "price.input"),
    ("price", {"input": "0.00000000001", "output": 1}, "price.input"),
    ("price", {"input": "1000000.1", "output": 1}, "price.input"),
    ("price", {"input": "1e99", "output": 1}, "price.input"),
    ("price", {"input": "\u0661", "output": 1}, "price.input"),
    ("price", {"input": 1, "output": 1, "per": "token"}, "price.per"),
    ("price", {"input": 1, "output": 1, "source": "a\nb"}, "price.source"),
    ("load_options", {"n_ctx": 1}, "load_options.n_ctx"),
    ("load_options", [], "load_options"),
    ("load_options", {"model_path": "/etc/passwd"}, "load_options.model_path"),
    ("deprecated", "true", "deprecated"),
    ("deprecated", None, "deprecated"),
    ("deprecated", 1, "deprecated"),
    ("deprecation_note", "a" * 1_001, "deprecation_note"),
    ("status", "loaded", "status"),
    ("access_count", 7, "access_count"),
    ("key", "openai:b", "key"),
    ("created_at", "2026-01-01T00:00:00Z", "created_at"),
    ("__class__", 1, "__class__"),
]


@pytest.mark.parametrize(("field", "given", "param"), WRONG, ids=lambda value: ascii(value)[:30])
def test_it_refuses_and_names_the_place(field: str, given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        entries.parse_changes({field: given})
    assert caught.value.param == param
    assert len(caught.value.message) < 600


def test_metadata_may_be_deep_but_not_endless() -> None:
    value: Any = {}
    for _ in range(31):
        value = {"a": value}
    assert entries.parse_changes({"metadata": value})
    with pytest.raises(InvalidRequest):
        entries.parse_changes({"metadata": {"a": value}})
