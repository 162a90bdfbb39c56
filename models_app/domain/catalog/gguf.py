"""The metadata in the header of a GGUF file, checked and completed with llama.cpp's defaults."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from models_app.domain.catalog import hyperparameters
from models_app.domain.catalog.memory import ModelShape
from models_app.domain.errors import ModelFileError

# llama.cpp's bound on layers. A count of 0 or 1,000,000 aborts the process that loads the file.
MAX_BLOCKS = 512
# Above the values of all models: a larger one is a damaged header, and llama.cpp would try to allocate it.
_MAX_CONTEXT = 1 << 28
_MAX_WIDTH = 1 << 20
_MAX_HEADS = 1 << 16
_MAX_NAME = 200
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

# Files of these architectures hold no text model.
PROJECTORS = frozenset({"clip", "mmproj"})
# Encoders: every token attends to every other. llama.cpp assumes this when the header has no value.
_ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)

# general.file_type as llama.cpp numbers it; 1024 is added to a guess.
_FILE_TYPE_GUESSED = 1024
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """One model file. Sizes are bytes, lengths tokens; None means that the header has no value.

    A model in several parts is described by its first file: `size_bytes` and `sha256` are that file's, while
    `total_bytes` and `parameter_count` are those of all `parts`.
    """

    architecture: str
    name: str
    size_bytes: int
    total_bytes: int
    parts: int
    sha256: str
    quantization: str
    parameter_count: int
    context_length: int
    embedding_length: int
    block_count: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    vocab_size: int
    pooling_type: int | None
    causal: bool
    chat_template: str | None
    template_digest: str | None
    has_fill_in_middle: bool
    tokenizer: str
    license: str | None
    author: str | None
    # 0: not in the header, or the header was read before this field existed.
    feed_forward_length: int = 0

    def shape(self) -> ModelShape:
        return ModelShape(
            file_bytes=self.total_bytes,
            block_count=self.block_count,
            embedding_length=self.embedding_length,
            head_count=self.head_count,
            head_count_kv=self.head_count_kv,
            key_length=self.key_length,
            value_length=self.value_length,
            vocab_size=self.vocab_size,
            feed_forward_length=self.feed_forward_length,
            causal=self.causal,
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-compatible form, which `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GgufMetadata:
        """The inverse of `to_dict`. Ignores unknown names, so that data of a newer version can be read."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True)
class RawHeader:
    """A header from the scan child: values as in the file, arrays by their lengths."""

    fields: Mapping[str, Any]
    array_lengths: Mapping[str, int]
    template: str | None
    fill_in_middle_token: bool
    parameter_count: int
    tensor_bytes: Mapping[str, int]
    embedding_shape: tuple[int, ...] | None
    byte_tokens: bool = False


# Files that are no model of their own, by `general.type` or the architecture, and what they are.
_PARTS_OF_MODELS = {
    "adapter": "an adapter (LoRA), which changes another model",
    "imatrix": "an importance matrix, with which models are quantized",
    "controlvector": "a control vector, which steers another model",
    "vocab": "a vocabulary without a model",
}
# Of image and video generators, which llama.cpp does not run.
_DIFFUSERS = frozenset(
    {
        "aura",
        "chroma",
        "cosmos",
        "flux",
        "hidream",
        "hyvid",
        "ltxv",
        "lumina2",
        "pig",
        "qwen_image",
        "sd1",
        "sd3",
        "sdxl",
        "wan",
    }
)


def _check_kind(header: RawHeader) -> None:
    """Raises ModelFileError for a file that is no language model, with what it is. Some name no architecture."""
    named = (header.fields.get("general.type"), header.fields.get("general.architecture"))
    kind, architecture = (name if isinstance(name, str) else "" for name in named)
    if what := _PARTS_OF_MODELS.get(kind) or _PARTS_OF_MODELS.get(architecture):
        raise ModelFileError(f"The file is {what}, not a model.")
    if architecture in _DIFFUSERS:
        raise ModelFileError(f"The file is a model that generates images or videos ({architecture}), not text.")


def check_whole(metadata: GgufMetadata) -> None:
    """Raises ModelFileError for a file that has no weights in all of its parts, or is the vision part of a model."""
    if metadata.architecture in PROJECTORS:
        raise ModelFileError("It is a projector (mmproj), the vision part of another model.")
    if metadata.parameter_count == 0:
        raise ModelFileError("The file is a vocabulary without weights, not a model.")


def judge(header: RawHeader, *, size_bytes: int, sha256: str) -> GgufMetadata:
    """The metadata of a file with this header.

    Raises ModelFileError for values that would crash or mislead llama.cpp.
    """
    _check_kind(header)
    architecture = header.fields.get("general.architecture")
    if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
        raise ModelFileError("The header does not name the model's architecture (general.architecture).")
    hyperparameters.check(header.fields, architecture, byte_tokens=header.byte_tokens)
    values = _Values(header.fields, architecture)
    projector = architecture in PROJECTORS
    width = values.number("embedding_length", _MAX_WIDTH, required=not projector)
    heads = values.number("attention.head_count", _MAX_HEADS)
    head_size = width // heads if heads else 0
    vocabulary = _vocabulary_size(header)
    _check_embedding(header, width, vocabulary)
    template = header.template or None
    return GgufMetadata(
        architecture=architecture,
        name=values.text("general.name") or "",
        size_bytes=size_bytes,
        total_bytes=size_bytes,
        parts=values.parts(),
        sha256=sha256,
        quantization=_quantization(header),
        parameter_count=header.parameter_count,
        context_length=values.number("context_length", _MAX_CONTEXT, required=not projector),
        embedding_length=width,
        block_count=values.number("block_count", MAX_BLOCKS, required=not projector),
        head_count=heads,
        head_count_kv=values.number("attention.head_count_kv", _MAX_HEADS, default=heads),
        key_length=values.number("attention.key_length", _MAX_WIDTH, default=head_size),
        value_length=values.number("attention.value_length", _MAX_WIDTH, default=head_size),
        vocab_size=vocabulary,
        pooling_type=values.pooling_type(),
        causal=values.causal(),
        chat_template=template,
        template_digest=hashlib.sha256(template.encode()).hexdigest() if template else None,
        has_fill_in_middle=header.fill_in_middle_token or values.names_fill_in_middle(),
        tokenizer=values.text("tokenizer.ggml.model") or "",
        license=values.text("general.license"),
        author=values.text("general.author"),
        feed_forward_length=values.number("feed_forward_length", _MAX_WIDTH),
    )


@dataclass(frozen=True, slots=True)
class _Values:
    """Typed access to the fields of one architecture."""

    fields: Mapping[str, Any]
    architecture: str

    def number(self, name: str, limit: int, *, default: int = 0, required: bool = False) -> int:
        """A count from 0 (1 where required) to `limit`; of per-layer lists the maximum."""
        key = f"{self.architecture}.{name}"
        value = self.fields.get(key)
        if value is None:
            if required:
                raise ModelFileError(f"The header lacks '{key}', without which a model cannot be loaded.")
            return default
        if isinstance(value, list) and value and all(type(item) is int for item in value):
            value = max(value)
        if type(value) is not int or not required <= value <= limit:
            raise ModelFileError(f"The header's '{key}' must be a whole number from {int(required)} to {limit}.")
        return value

    def text(self, key: str) -> str | None:
        """One line of at most 200 characters that every database can store."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            return None
        return _CONTROL_CHARACTERS.sub(" ", value).strip()[:_MAX_NAME] or None

    def pooling_type(self) -> int | None:
        value = self.fields.get(f"{self.architecture}.pooling_type")
        return value if type(value) is int and 0 <= value <= 4 else None

    def causal(self) -> bool:
        value = self.fields.get(f"{self.architecture}.attention.causal")
        return value if isinstance(value, bool) else self.architecture not in _ENCODERS

    def parts(self) -> int:
        count = self.fields.get("split.count", 1)
        if type(count) is not int or count > 99_999:
            raise ModelFileError("The header's 'split.count' is not a number of parts.")
        return max(1, count)

    def names_fill_in_middle(self) -> bool:
        prefix = ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id")
        return any(type(self.fields.get(key)) is int for key in prefix)


def _vocabulary_size(header: RawHeader) -> int:
    tokens = header.array_lengths.get("tokenizer.ggml.tokens", 0)
    for name in ("scores", "token_type"):
        length = header.array_lengths.get(f"tokenizer.ggml.{name}", tokens)
        if length != tokens:
            raise ModelFileError(
                f"The header's 'tokenizer.ggml.{name}' has {length} entries for a vocabulary of {tokens} tokens."
            )
    return tokens


def _check_embedding(header: RawHeader, width: int, vocabulary: int) -> None:
    shape = header.embedding_shape
    if shape is None:
        return
    if len(shape) != 2 or (width and shape[0] != width) or (vocabulary and shape[1] != vocabulary):
        raise ModelFileError(
            f"The tensor 'token_embd.weight' has the shape {list(shape)}, but the header has "
            f"{vocabulary} tokens of width {width}."
        )


def _quantization(header: RawHeader) -> str:
    """The name of the file type, or else the type of most of the weights."""
    value = header.fields.get("general.file_type")
    if type(value) is int and (value & ~_FILE_TYPE_GUESSED) in FILE_TYPES:
        return FILE_TYPES[value & ~_FILE_TYPE_GUESSED]
    sizes = header.tensor_bytes
    return max(sizes, key=lambda name: sizes[name]) if sizes else ""
