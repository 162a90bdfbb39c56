"""Values of a header on which llama.cpp aborts the process that loads the file, instead of refusing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.errors import ModelFileError

# llama.cpp's bound.
_MAX_EXPERTS = 512
_ROPE_SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})
# Tokenizers of files without a vocabulary.
_NO_VOCABULARY = frozenset({"none", "no_vocab"})


def check(fields: Mapping[str, Any], architecture: str, *, byte_tokens: bool) -> None:
    """Raises ModelFileError. `byte_tokens`: whether the vocabulary has tokens that stand for one byte."""
    _check_epsilons(fields, architecture)
    _check_experts(fields, architecture)
    _check_tokenizer(fields, byte_tokens)
    key = f"{architecture}.rope.scaling.type"
    scaling = fields.get(key, "none")
    if not isinstance(scaling, str) or scaling not in _ROPE_SCALINGS:
        raise ModelFileError(f"The header's '{key}' must be one of {', '.join(sorted(_ROPE_SCALINGS))}.")


def _check_epsilons(fields: Mapping[str, Any], architecture: str) -> None:
    for key, value in fields.items():
        is_epsilon = key.startswith(f"{architecture}.") and key.endswith("epsilon")
        if is_epsilon and not (type(value) is float and value >= 0):
            raise ModelFileError(f"The header's '{key}' must be a number of at least 0.")


def _check_experts(fields: Mapping[str, Any], architecture: str) -> None:
    def number(name: str, highest: int) -> int:
        key = f"{architecture}.{name}"
        value = fields.get(key, 0)
        numbers: list[int] = value if isinstance(value, list) else [value]
        if not numbers or not all(type(one) is int and 0 <= one <= highest for one in numbers):
            raise ModelFileError(f"The header's '{key}' must be a whole number from 0 to {highest}.")
        return max(numbers)

    experts = number("expert_count", _MAX_EXPERTS)
    used = number("expert_used_count", experts)
    groups = number("expert_group_count", experts)
    groups_used = number("expert_group_used_count", groups)
    if experts and not used:
        raise ModelFileError(f"The header has {experts} experts, but '{architecture}.expert_used_count' is 0.")
    if groups > 1 and (experts % groups or groups >= experts or not 0 < groups_used < groups):
        raise ModelFileError(
            f"The header has {experts} experts in {groups} groups of which {groups_used} are used: groups must be "
            "equally large, and fewer of them used than there are."
        )


def _check_tokenizer(fields: Mapping[str, Any], byte_tokens: bool) -> None:
    tokenizer = fields.get("tokenizer.ggml.model", "")
    if not isinstance(tokenizer, str):
        raise ModelFileError("The header's 'tokenizer.ggml.model' must be a text.")
    if tokenizer in _NO_VOCABULARY:
        raise ModelFileError(f"The header's tokenizer is '{tokenizer}': the model has no vocabulary, so no text.")
    if tokenizer == "bert" and byte_tokens:
        raise ModelFileError("The vocabulary has tokens for single bytes, which the tokenizer 'bert' cannot have.")
