"""The metadata of a header: what it takes over, what it completes, and what it refuses."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from models_app.domain.catalog.gguf import GgufMetadata, RawHeader, judge
from models_app.domain.catalog.memory import ModelShape
from models_app.domain.errors import ModelFileError

# The least that describes a model.
LEAST = {
    "general.architecture": "llama",
    "llama.context_length": 2048,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
}
PROJECTOR = {"general.architecture": "clip"}


def read(
    fields: dict[str, Any] | None = None,
    *,
    basis: dict[str, Any] = LEAST,
    lengths: dict[str, int] | None = None,
    template: str | None = None,
    fill_in_middle: bool = False,
    sizes: dict[str, int] | None = None,
    embedding: tuple[int, ...] | None = None,
    byte_tokens: bool = False,
) -> GgufMetadata:
    """The metadata of a header of `basis` with `fields`, in which None removes a field."""
    given = {name: value for name, value in {**basis, **(fields or {})}.items() if value is not None}
    arrays = {f"tokenizer.ggml.{name}": length for name, length in (lengths or {}).items()}
    header = RawHeader(given, arrays, template, fill_in_middle, 900, sizes or {}, embedding, byte_tokens)
    return judge(header, size_bytes=5000, sha256="ab")


def test_the_least_header_is_completed() -> None:
    assert read() == GgufMetadata(
        architecture="llama",
        name="",
        size_bytes=5000,
        total_bytes=5000,
        parts=1,
        sha256="ab",
        quantization="",
        parameter_count=900,
        context_length=2048,
        embedding_length=64,
        block_count=2,
        head_count=0,
        head_count_kv=0,
        key_length=0,
        value_length=0,
        vocab_size=0,
        pooling_type=None,
        causal=True,
        chat_template=None,
        template_digest=None,
        has_fill_in_middle=False,
        tokenizer="",
        license=None,
        author=None,
        feed_forward_length=0,
    )


FULL = {
    "general.name": "Full",
    "general.file_type": 15,
    "general.license": "mit",
    "general.author": "Ada",
    "split.count": 3,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 4,
    "llama.attention.key_length": 12,
    "llama.attention.value_length": 14,
    "llama.attention.causal": False,
    "llama.pooling_type": 2,
    "llama.feed_forward_length": 256,
    "tokenizer.ggml.model": "gpt2",
}


def test_every_value_of_a_full_header_is_taken_over() -> None:
    found = read(FULL, lengths={"tokens": 7, "scores": 7, "token_type": 7}, template="{{ x }}", embedding=(64, 7))
    assert found == GgufMetadata(
        architecture="llama",
        name="Full",
        size_bytes=5000,
        total_bytes=5000,
        parts=3,
        sha256="ab",
        quantization="Q4_K_M",
        parameter_count=900,
        context_length=2048,
        embedding_length=64,
        block_count=2,
        head_count=8,
        head_count_kv=4,
        key_length=12,
        value_length=14,
        vocab_size=7,
        pooling_type=2,
        causal=False,
        chat_template="{{ x }}",
        template_digest=hashlib.sha256(b"{{ x }}").hexdigest(),
        has_fill_in_middle=False,
        tokenizer="gpt2",
        license="mit",
        author="Ada",
        feed_forward_length=256,
    )
    assert found.shape() == ModelShape(
        file_bytes=5000,
        block_count=2,
        embedding_length=64,
        head_count=8,
        head_count_kv=4,
        key_length=12,
        value_length=14,
        vocab_size=7,
        feed_forward_length=256,
        causal=False,
    )
    assert GgufMetadata.from_dict(found.to_dict()) == found
    assert GgufMetadata.from_dict(found.to_dict() | {"of_a_newer_version": 1}) == found


def test_heads_without_a_size_divide_the_width() -> None:
    found = read({"llama.attention.head_count": 5})
    assert (found.head_count, found.head_count_kv, found.key_length, found.value_length) == (5, 5, 12, 12)


# The fields with their limits, and whether a model cannot be loaded without them.
COUNTS = [
    ("context_length", 1 << 28, True),
    ("embedding_length", 1 << 20, True),
    ("block_count", 512, True),
    ("attention.head_count", 1 << 16, False),
    ("attention.head_count_kv", 1 << 16, False),
    ("attention.key_length", 1 << 20, False),
    ("attention.value_length", 1 << 20, False),
    ("feed_forward_length", 1 << 20, False),
]


@pytest.mark.parametrize(("name", "limit", "required"), COUNTS)
def test_a_count_has_bounds(name: str, limit: int, required: bool) -> None:
    least = int(required)
    attribute = name.rpartition(".")[2]
    for value, stored in ((least, least), (limit, limit), ([1, 9, 3], 9)):
        assert getattr(read({f"llama.{name}": value}), attribute) == stored
    for wrong in (least - 1, limit + 1, [], [1, "2"], ["1"], [1, limit + 1], 1.0, "1", True):
        with pytest.raises(ModelFileError, match=f"'llama.{name}'"):
            read({f"llama.{name}": wrong})


@pytest.mark.parametrize(("name", "required"), [(name, required) for name, _, required in COUNTS])
def test_only_a_projector_can_lack_the_size_of_a_model(name: str, required: bool) -> None:
    if required:
        with pytest.raises(ModelFileError, match=f"lacks 'llama.{name}'"):
            read({f"llama.{name}": None})
    attribute = name.rpartition(".")[2]
    assert getattr(read(basis=PROJECTOR), attribute) == 0
    assert getattr(read({f"clip.{name}": 0}, basis=PROJECTOR), attribute) == 0


@pytest.mark.parametrize("architecture", ["a", "qwen2.5-moe_x", "0" + "x" * 63])
def test_an_architecture_is_a_short_word(architecture: str) -> None:
    basis = {name.replace("llama", architecture): value for name, value in LEAST.items()}
    assert read({"general.architecture": architecture}, basis=basis).architecture == architecture


@pytest.mark.parametrize("architecture", [None, 7, "", "Llama", "-x", "x y", "x\n", "0" + "x" * 64, ["llama"]])
def test_a_header_without_an_architecture_is_refused(architecture: Any) -> None:
    with pytest.raises(ModelFileError, match=r"general\.architecture"):
        read({"general.architecture": architecture})


def test_what_aborts_llama_cpp_is_refused() -> None:
    with pytest.raises(ModelFileError, match="expert_count"):
        read({"llama.expert_count": 513})
    bert = {"tokenizer.ggml.model": "bert"}
    assert read(bert).tokenizer == "bert"
    with pytest.raises(ModelFileError, match="single bytes"):
        read(bert, byte_tokens=True)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        (" \t a\x00\x1b\n b\x7f\x9fc ", "a  b c"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        (" " + "x" * 200, "x" * 200),
        ("\n", None),
        ("", None),
        (7, None),
        (["a"], None),
    ],
)
def test_text_is_one_line_that_a_database_can_store(text: Any, stored: str | None) -> None:
    found = read(dict.fromkeys(("general.license", "general.author", "general.name"), text))
    assert (found.license, found.author, found.name) == (stored, stored, stored or "")
    if isinstance(text, str):
        assert read({"tokenizer.ggml.model": text}).tokenizer == (stored or "")


@pytest.mark.parametrize(
    ("value", "stored"),
    [(0, 0), (1, 1), (4, 4), (-1, None), (5, None), (True, None), ("1", None), (1.0, None)],
)
def test_a_pooling_type_that_llama_cpp_does_not_know_is_none(value: Any, stored: int | None) -> None:
    assert read({"llama.pooling_type": value}).pooling_type == stored


@pytest.mark.parametrize(
    ("architecture", "value", "causal"),
    [
        ("llama", None, True),
        ("llama", False, False),
        ("llama", 0, True),
        ("bert", None, False),
        ("bert", True, True),
        ("bert", "yes", False),
        ("t5encoder", None, False),
    ],
)
def test_encoders_are_not_causal_unless_the_header_says_so(architecture: str, value: Any, causal: bool) -> None:
    basis = {name.replace("llama", architecture): field for name, field in LEAST.items()}
    fields = {"general.architecture": architecture, f"{architecture}.attention.causal": value}
    assert read(fields, basis=basis).causal is causal


@pytest.mark.parametrize(("count", "parts"), [(None, 1), (-3, 1), (0, 1), (1, 1), (2, 2), (99_999, 99_999)])
def test_a_model_has_at_least_one_part(count: int | None, parts: int) -> None:
    assert read({"split.count": count}).parts == parts


@pytest.mark.parametrize("count", [100_000, "2", 2.0, True, [2]])
def test_a_wrong_number_of_parts_is_refused(count: Any) -> None:
    with pytest.raises(ModelFileError, match=r"split\.count"):
        read({"split.count": count})


@pytest.mark.parametrize(
    ("fields", "token", "found"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"tokenizer.ggml.fim_pre_token_id": 0}, False, True),
        ({"tokenizer.ggml.prefix_token_id": 9}, False, True),
        ({"tokenizer.ggml.prefix_token_id": "9"}, False, False),
        ({"tokenizer.ggml.suffix_token_id": 9}, False, False),
    ],
)
def test_a_token_to_fill_in_the_middle_is_in_the_vocabulary_or_named(
    fields: dict[str, Any], token: bool, found: bool
) -> None:
    assert read(fields, fill_in_middle=token).has_fill_in_middle is found


@pytest.mark.parametrize("lengths", [{"tokens": 5}, {"tokens": 5, "scores": 5}, {"tokens": 5, "token_type": 5}])
def test_the_vocabulary_is_the_list_of_tokens(lengths: dict[str, int]) -> None:
    assert read(lengths=lengths).vocab_size == 5


@pytest.mark.parametrize(
    "lengths",
    [
        {"tokens": 5, "scores": 4},
        {"tokens": 5, "token_type": 6},
        {"tokens": 5, "scores": 5, "token_type": 4},
        {"scores": 1},
        {"token_type": 1},
    ],
)
def test_lists_of_different_lengths_are_no_vocabulary(lengths: dict[str, int]) -> None:
    with pytest.raises(ModelFileError, match="entries for a vocabulary"):
        read(lengths=lengths)


def test_the_embedding_has_the_width_and_vocabulary_of_the_header() -> None:
    tokens = {"tokens": 7}
    assert read(lengths=tokens, embedding=(64, 7)).vocab_size == 7
    assert read(embedding=(64, 99)).vocab_size == 0  # no vocabulary to compare with
    assert read(basis=PROJECTOR, embedding=(3, 9)).embedding_length == 0
    for wrong in ((63, 7), (64, 8), (7, 64), (64,), (64, 7, 1), ()):
        with pytest.raises(ModelFileError, match=r"token_embd\.weight"):
            read(lengths=tokens, embedding=wrong)


@pytest.mark.parametrize(
    ("file_type", "sizes", "name"),
    [
        (0, {"Q8_0": 9}, "F32"),
        (1024 + 7, {}, "Q8_0"),
        (4000, {"F32": 1, "Q4_K": 9, "Q6_K": 5}, "Q4_K"),
        (None, {"F16": 9, "Q4_K": 5}, "F16"),
        ("7", {"F16": 9}, "F16"),
        (True, {"F32": 9}, "F32"),
        (None, {}, ""),
    ],
)
def test_the_quantization_is_the_file_type_or_that_of_most_weights(
    file_type: Any, sizes: dict[str, int], name: str
) -> None:
    assert read({"general.file_type": file_type}, sizes=sizes).quantization == name


# What a file can hold in any field: each type of a scalar, and short arrays of numbers.
VALUES: list[Any] = [True, 0, -1, 2**63, 2**64 - 1, 0.0, -0.5, 3.4e38, "", "x", "\0" * 300, [], [0], [True], [1.5, 2.5]]
FIELDS = [*LEAST, *FULL, *(f"llama.{name}" for name, _, _ in COUNTS)]
FIELDS += ["llama.expert_count", "llama.expert_used_count", "llama.expert_group_count", "llama.expert_group_used_count"]
FIELDS += ["llama.rope.scaling.type", "llama.attention.layer_norm_epsilon", "tokenizer.ggml.prefix_token_id"]


@pytest.mark.parametrize("field", sorted(set(FIELDS)))
def test_a_value_of_any_type_in_any_field_is_read_or_refused(field: str) -> None:
    for value in VALUES:
        try:
            found = read({field: value})
        except ModelFileError as error:
            assert "The header" in error.message
        else:
            assert GgufMetadata.from_dict(found.to_dict()) == found
