"""The options of a load: their bounds, and their stored form."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import InvalidRequest

BOUNDS = [
    ("n_ctx", 64, 4_194_304),
    ("slots", 1, 256),
    ("n_batch", 32, 16_384),
    ("n_threads", 1, 1024),
    ("n_gpu_layers", -1, 10_000),
]


@pytest.mark.parametrize(("name", "low", "high"), BOUNDS)
def test_an_option_has_bounds(name: str, low: int, high: int) -> None:
    for value in (low, high):
        options = LoadOptions.parse({name: value})
        assert options.as_dict() == {name: value}
        assert not options.is_empty
    wrong: tuple[Any, ...] = (low - 1, high + 1, float(high), str(high), True, [high])
    for value in wrong:
        with pytest.raises(InvalidRequest) as caught:
            LoadOptions.parse({name: value})
        assert (caught.value.code, caught.value.param) == ("invalid_option", f"options.{name}")


def test_null_leaves_one_option_to_the_server() -> None:
    assert LoadOptions.parse({"slots": None, "n_ctx": 512}) == LoadOptions(n_ctx=512)
    with pytest.raises(InvalidRequest):
        LoadOptions.parse({"slots": None, "n_ctx": 1})
    for nothing in ({}, {"slots": None}):
        assert LoadOptions.parse(nothing).is_empty
        assert LoadOptions.parse(nothing).as_dict() == {}


def test_an_unknown_option_is_named_in_short() -> None:
    for name, named in (("model_path", "model_path"), ("x" * 80, "x" * 80), ("x" * 81, "x" * 80)):
        with pytest.raises(InvalidRequest) as caught:
            LoadOptions.parse({name: None})
        assert (caught.value.code, caught.value.param) == ("unknown_option", f"options.{named}")
        assert f"'{named}'" in caught.value.message
