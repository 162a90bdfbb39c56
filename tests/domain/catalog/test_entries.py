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
        ("metadata", {"a": "x" * 65_528}, {"a": "x" * 65_528}),  # 64 KiB of JSON
        ("metadata", {"a": [2**63 - 1, 1 - 2**63]}, {"a": [2**63 - 1, 1 - 2**63]}),
        (
            "price",
            {"input": 1_000_000, "output": "1000000"},
            {"input": "1000000", "output": "1000000", "source": "operator"},
        ),
        ("load_options", {"n_ctx": 512, "slots": None}, {"n_ctx": 512}),
        ("context_window", 1_000_000_000, 1_000_000_000),
        ("max_output_tokens", 5, 5),
        ("name", "a" * 190, "a" * 190),
        ("description", "  a" * 3, "a  a  a"),
        ("description", "x" * 10_000, "x" * 10_000),
        ("description", "\u2028Xx", "Xx"),
        ("tags", [str(number) for number in range(64)], [str(number) for number in range(64)]),
        ("tags", ["x" * 64], ["x" * 64]),
        ("priority", 0, 0),
        ("priority", 100, 100),
        ("idle_ttl_seconds", None, None),
        ("idle_ttl_seconds", 0, 0),
        ("idle_ttl_seconds", 31_536_000, 31_536_000),
        ("min_residency_seconds", None, None),
        ("min_residency_seconds", 31_536_000, 31_536_000),
        ("pinned", True, True),
        ("on_demand", False, False),
        ("deprecated", True, True),
        ("deprecation_note", "Use\nanother.", "Use\nanother."),
    ],
)
def test_it_takes(field: str, given: Any, stored: Any) -> None:
    assert entries.parse_changes({field: given}) == {field: stored}


_FLAGS: tuple[Any, ...] = (None, 0, "yes", [])


def _beyond(limit: int) -> list[Any]:
    return [-1, limit + 1, 1.0, True, "1", []]


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
    ("metadata", {"a": "x" * 65_529}, "metadata"),
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
    *((name, wrong, name) for name in ("pinned", "on_demand") for wrong in _FLAGS),
    *(
        (name, wrong, name)
        for name, limit in (("priority", 100), ("idle_ttl_seconds", 31_536_000), ("min_residency_seconds", 31_536_000))
        for wrong in _beyond(limit)
    ),
    ("priority", None, "priority"),
    ("context_window", 1_000_000_001, "context_window"),
    ("price", {"input": 1, "output": 1, "source": "x" * 33}, "price.source"),
    ("price", {"input": 1, "output": 1, "tiers": {}}, "price.tiers"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 1, "above": 5}] * 11}, "price.tiers"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 1, "above": 5}, 7]}, "price.tiers[1]"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 1}]}, "price.tiers[0].above"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 1, "above": 0}]}, "price.tiers[0].above"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "above": 5}]}, "price.tiers[0]"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": "x", "above": 5}]}, "price.tiers[0].output"),
    ("price", {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 1, "above": 5, "x": 1}]}, "price.tiers[0].x"),
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


def test_tiers_of_a_price_are_sorted_by_length() -> None:
    tiers = [{"input": 3, "output": "4.50", "above": 200}, {"input": 2, "output": 2, "above": 100, "cache_write": 1}]
    price = {"input": 1, "output": 1, "source": " list ", "tiers": tiers}
    assert entries.parse_changes({"price": price})["price"] == {
        "input": "1",
        "output": "1",
        "source": "list",
        "tiers": [
            {"input": "2", "output": "2", "cache_write": "1", "above": 100},
            {"input": "3", "output": "4.5", "above": 200},
        ],
    }
    most = [{"input": 1, "output": 1, "above": number} for number in range(1, 11)]
    assert len(entries.parse_changes({"price": price | {"tiers": most}})["price"]["tiers"]) == 10
    assert "tiers" not in entries.parse_changes({"price": price | {"tiers": None}})["price"]


@pytest.mark.parametrize(
    ("field", "given", "code", "message"),
    [
        ("tags", ["a,b"], None, "'tags[0]' must be a tag: 1 to 64 printable characters without a comma, not 'a,b'."),
        (
            "metadata",
            {"a": 2**63},
            "number_too_large",
            "'metadata' must be free of numbers beyond 2^63; write them as strings.",
        ),
        (
            "price",
            {"input": "x", "output": 1},
            None,
            "'price.input' must be US dollars per million tokens, from 0 to 1,000,000: a number, or a decimal string"
            " with at most 10 places.",
        ),
    ],
)
def test_a_refusal_says_what_is_expected(field: str, given: Any, code: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        entries.parse_changes({field: given})
    assert caught.value.message == message
    assert caught.value.code == (code or InvalidRequest.default_code)


# Whole entries


@pytest.mark.parametrize(
    ("data", "key", "path"),
    [
        ({"key": "openai:m"}, "openai:m", None),
        ({"key": "claude:m"}, "anthropic:m", None),
        ({"provider": "openai", "model": "a:b"}, "openai:a:b", None),
        ({"key": "llama.cpp:m", "path": None}, "llama.cpp:m", None),
        ({"key": "llama.cpp:m", "path": " /m.gguf "}, "llama.cpp:m", "/m.gguf"),
        ({"key": "llama.cpp:m", "path": "x" * 4096}, "llama.cpp:m", "x" * 4096),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_entry_names_a_model_in_one_of_two_ways(data: dict[str, Any], key: str, path: str | None) -> None:
    entry = entries.parse_entry(data | {"name": "N", "tags": ["b"]})
    assert (str(entry.key), entry.fields, entry.path) == (key, {"name": "N", "tags": ["b"]}, path)


@pytest.mark.parametrize("place", ["", "models[3]."])
@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({}, "key"),
        ({"provider": "a"}, "key"),
        ({"model": "b"}, "key"),
        ({"key": "a:b", "provider": "a"}, "key"),
        ({"key": "a:b", "model": "b"}, "key"),
        ({"key": "a:b", "provider": "a", "model": "b"}, "key"),
        ({"key": 7}, "key"),
        ({"key": None}, "key"),
        ({"key": "nothing"}, "key"),
        ({"key": "A b:c"}, "key"),
        ({"key": "a:.."}, "key"),
        ({"provider": 7, "model": "b"}, "provider"),
        ({"provider": "a", "model": None}, "model"),
        ({"provider": "A b", "model": "b"}, "provider"),
        ({"provider": "a", "model": ".."}, "model"),
        ({"key": "a:b", "path": 7}, "path"),
        ({"key": "a:b", "path": "x" * 4097}, "path"),
        ({"key": "a:b", "path": "a\nb"}, "path"),
        ({"key": "a:b", "name": 7}, "name"),
        ({"key": "a:b", "tags": ["a", ""]}, "tags[1]"),
        ({"key": "a:b", "price": {"input": 1, "output": -1}}, "price.output"),
        ({"key": "a:b", "load_options": {"n_ctx": 1}}, "load_options.n_ctx"),
        ({"key": "a:b", "status": "loaded"}, "status"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_entry_is_refused_at_its_place(data: dict[str, Any], param: str, place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        entries.parse_entry(data, place)
    assert caught.value.param == place + param
    if not place:
        with pytest.raises(InvalidRequest) as caught:
            entries.parse_entry(data)
        assert caught.value.param == param


@pytest.mark.parametrize("data", [None, [], "openai:m", 7])
def test_an_entry_is_an_object(data: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        entries.parse_entry(data, "models[3].")
    assert caught.value.param == "models[3]"
    assert caught.value.message == "'models[3]' must be an object."
