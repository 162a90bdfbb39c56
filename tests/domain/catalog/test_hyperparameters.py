"""Headers on which llama.cpp would abort are refused; those of real models are not."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.catalog import hyperparameters
from models_app.domain.errors import ModelFileError


def check(*, byte_tokens: bool = False, **fields: Any) -> None:
    named = {f"llama.{name.replace('__', '.')}": value for name, value in fields.items()}
    if "tokenizer" in fields:
        named["tokenizer.ggml.model"] = fields["tokenizer"]
    hyperparameters.check(named, "llama", byte_tokens=byte_tokens)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"expert_count": 8, "expert_used_count": 2},
        {"expert_count": 512, "expert_used_count": 512},
        {"expert_count": 8, "expert_used_count": [2, 2, 1]},
        {"expert_count": 256, "expert_used_count": 8, "expert_group_count": 8, "expert_group_used_count": 4},
        {"expert_count": 128, "expert_used_count": 8, "expert_group_count": 1, "expert_group_used_count": 1},
        {"expert_count": 8, "expert_used_count": 2, "expert_group_count": 2, "expert_group_used_count": 1},
        {"rope__scaling__type": "yarn"},
        {"attention__layer_norm_rms_epsilon": 0.0},
        {"attention__layer_norm_epsilon": 1e-5},
        {"tokenizer": "bert"},
        {"tokenizer": "llama", "byte_tokens": True},
    ],
)
def test_headers_of_real_models_pass(fields: dict[str, Any]) -> None:
    check(**fields)


_BAD_COUNTS: tuple[Any, ...] = (-1, 513, 2**31, 2**32 - 1, 2**63, True, 1.0, "8", [], [8, -1], [8, "8"])


@pytest.mark.parametrize("value", _BAD_COUNTS, ids=repr)
@pytest.mark.parametrize("name", ["expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count"])
def test_counts_of_experts_are_bounded(name: str, value: Any) -> None:
    with pytest.raises(ModelFileError, match=name):
        check(**{"expert_count": 8, "expert_used_count": 2, name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"expert_count": 8},
        {"expert_used_count": 1},
        {"expert_count": 2, "expert_used_count": 3},
        {"expert_count": 2, "expert_used_count": [1, 3]},
        {"expert_count": 8, "expert_used_count": 2, "expert_group_count": 3, "expert_group_used_count": 1},
        {"expert_count": 8, "expert_used_count": 2, "expert_group_count": 4, "expert_group_used_count": 4},
        {"expert_count": 8, "expert_used_count": 2, "expert_group_count": 4},
        {"expert_count": 8, "expert_used_count": 2, "expert_group_count": 8, "expert_group_used_count": 1},
        {"expert_count": 7, "expert_used_count": 2, "expert_group_count": 2, "expert_group_used_count": 1},
        {"rope__scaling__type": "nonsense"},
        {"rope__scaling__type": ""},
        {"rope__scaling__type": 3},
        {"attention__layer_norm_rms_epsilon": -1.0},
        {"attention__layer_norm_epsilon": -1e-9},
        {"attention__group_norm_epsilon": "0"},
        {"rope__scaling__type": [1]},
        {"tokenizer": [1]},
        {"tokenizer": 1},
        {"tokenizer": "none"},
        {"tokenizer": "no_vocab"},
        {"tokenizer": "bert", "byte_tokens": True},
    ],
    ids=repr,
)
def test_what_aborts_llama_cpp_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        check(**fields)
