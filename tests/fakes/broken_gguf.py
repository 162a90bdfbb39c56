"""GGUF files that are wrong in one exact way each, built byte by byte.

`BROKEN` maps a name to the bytes of a file and a part of NOA's error message. `write_broken_gguf`
writes one of them. `BAD_TEMPLATES` are chat templates for `write_tiny_gguf(chat_template=…)` that a runner must reject.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

U8, I32, U32, F32, BOOL, STRING, ARRAY, U64, F64 = 0, 5, 4, 6, 7, 8, 9, 10, 12
Q4_0 = 2
_HUGE = 1 << 63


def text(value: str | bytes, length: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def array(kind: int, items: list[bytes], length: int | None = None) -> bytes:
    return struct.pack("<IQ", kind, len(items) if length is None else length) + b"".join(items)


@dataclass(slots=True)
class Entry:
    """One metadata field."""

    key: str | bytes
    kind: int
    value: bytes

    def __bytes__(self) -> bytes:
        return text(self.key) + struct.pack("<I", self.kind) + self.value


@dataclass(slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int = 0
    offset: int = 0
    dimensions: int | None = None

    def __bytes__(self) -> bytes:
        count = len(self.shape) if self.dimensions is None else self.dimensions
        sizes = struct.pack(f"<{len(self.shape)}Q", *self.shape)
        return text(self.name) + struct.pack("<I", count) + sizes + struct.pack("<IQ", self.kind, self.offset)


def _fields() -> dict[str, Entry]:
    tokens = [text(token) for token in ("<unk>", "<s>", "</s>", "a")]
    numbers = {
        "llama.context_length": 512,
        "llama.embedding_length": 8,
        "llama.block_count": 1,
        "llama.attention.head_count": 2,
        "general.file_type": 0,
    }
    entries = [
        Entry("general.architecture", STRING, text("llama")),
        Entry("general.name", STRING, text("whole")),
        *(Entry(key, U32, u32(value)) for key, value in numbers.items()),
        Entry("tokenizer.ggml.model", STRING, text("llama")),
        Entry("tokenizer.ggml.tokens", ARRAY, array(STRING, tokens)),
        Entry("tokenizer.ggml.token_type", ARRAY, array(I32, [u32(1)] * 4)),
        Entry("tokenizer.ggml.scores", ARRAY, array(F32, [u32(0)] * 4)),
    ]
    return {str(entry.key): entry for entry in entries}


@dataclass(slots=True)
class File:
    """A whole small file; change a part to break it. Counts of None are the real ones."""

    magic: bytes = b"GGUF"
    version: bytes = field(default_factory=lambda: u32(3))
    fields: dict[str, Entry] = field(default_factory=_fields)
    more: list[Entry] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=lambda: [Tensor("token_embd.weight", (8, 4))])
    field_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32
    data: bytes = bytes(128)

    def set(self, key: str, kind: int, value: bytes) -> File:
        self.fields[key] = Entry(key, kind, value)
        return self

    def without(self, key: str) -> File:
        del self.fields[key]
        return self

    def __bytes__(self) -> bytes:
        entries = [*self.fields.values(), *self.more]
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        fields = len(entries) if self.field_count is None else self.field_count
        head = self.magic + self.version + struct.pack("<QQ", tensors, fields)
        body = head + b"".join(map(bytes, entries)) + b"".join(map(bytes, self.tensors))
        return body + bytes(-len(body) % self.alignment) + self.data


def _tensors(*tensors: Tensor, data: int = 128) -> File:
    return File(tensors=list(tensors), data=bytes(data))


def _number(key: str, value: int) -> File:
    return File().set(key, U32, u32(value))


WHOLE = bytes(File())
_LAST = len(WHOLE) - 128  # where the data begins

# Broken before any field can be read.
_OUTSIDE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "one byte": (b"G", "does not begin with the letters GGUF"),
    "only the magic": (b"GGUF", "truncated"),
    "wrong magic": (bytes(File(magic=b"GGML")), "does not begin with the letters GGUF"),
    "a zip archive": (b"PK\x03\x04" + bytes(500), "does not begin with the letters GGUF"),
    "a web page": (b"<!DOCTYPE html><html>not found</html>", "does not begin with the letters GGUF"),
    "a git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "does not begin with the letters GGUF"),
    "zeros": (bytes(4096), "does not begin with the letters GGUF"),
    "version 0": (bytes(File(version=u32(0))), "version 0"),
    "version 1": (bytes(File(version=u32(1))), "version 1"),
    "version 4": (bytes(File(version=u32(4))), "version 4"),
    "big-endian": (bytes(File(version=struct.pack(">I", 3))), "big-endian"),
    "cut in the counts": (WHOLE[:20], "truncated"),
    "cut in a key": (WHOLE[:40], "truncated"),
    "cut in the tokens": (WHOLE[: WHOLE.index(b"<unk>")], "truncated"),
    "cut in the tensors": (WHOLE[: WHOLE.index(b"token_embd") + 3], "truncated"),
    "cut before the data": (WHOLE[:_LAST], "truncated"),
    "cut in the data": (WHOLE[:-1], "truncated"),
}

_COUNTS: dict[str, tuple[bytes, str]] = {
    "a huge tensor count": (bytes(File(tensor_count=_HUGE)), "tensors; at most"),
    "a tensor count above the limit": (bytes(File(tensor_count=200_001)), "tensors; at most"),
    "one tensor too many": (bytes(File(tensor_count=2)), "tensor"),
    "a huge field count": (bytes(File(field_count=2**64 - 1)), "metadata fields; at most"),
    "a field count above the limit": (bytes(File(field_count=10_001)), "metadata fields; at most"),
    "one field too many": (bytes(File(field_count=len(_fields()) + 1)), "claims a length"),
    "one field too few": (bytes(File(field_count=len(_fields()) - 1)), ""),
    "a huge key": (bytes(File(more=[Entry(b"k" * 70_000, U8, b"\0")])), "at most 65535"),
    "an endless key": (WHOLE[:24] + struct.pack("<Q", 2**64 - 1) + WHOLE[32:], "at most 65535"),
    "a huge string": (bytes(File().set("general.name", STRING, text("x", _HUGE))), "at most"),
    "a string beyond the end": (bytes(File().set("general.name", STRING, text("x", 100_000))), "truncated"),
    "a huge array": (bytes(File().set("general.tags", ARRAY, array(U32, [], _HUGE))), "elements; at most"),
    "an array beyond the end": (bytes(File().set("general.tags", ARRAY, array(U64, [], 1_000_000))), "truncated"),
    "strings beyond the end": (bytes(File().set("general.tags", ARRAY, array(STRING, [], 1_000_000))), ""),
    "a huge template": (bytes(File().set("tokenizer.chat_template", STRING, text("x" * 600_000))), "at most 524288"),
}

_FIELDS: dict[str, tuple[bytes, str]] = {
    "an unknown type": (bytes(File().set("general.odd", 13, b"\0")), "unknown type 13"),
    "an unknown element type": (bytes(File().set("general.odd", ARRAY, array(99, []))), "unknown type 99"),
    "nested arrays": (bytes(File().set("general.odd", ARRAY, array(ARRAY, [array(U8, [b"\1"])]))), "array of arrays"),
    "a field twice": (bytes(File(more=[Entry("general.name", STRING, text("b"))])), "occurs twice"),
    "a field without a name": (bytes(File(more=[Entry("", U8, b"\0")])), "has no name"),
    "no architecture": (bytes(File().without("general.architecture")), "general.architecture"),
    "an architecture that is a number": (bytes(_number("general.architecture", 3)), "general.architecture"),
    "an architecture with a path": (
        bytes(File().set("general.architecture", STRING, text("../llama"))),
        "general.architecture",
    ),
    "no context length": (bytes(File().without("llama.context_length")), "llama.context_length"),
    "a context length of 0": (bytes(_number("llama.context_length", 0)), "from 1 to"),
    "an absurd context length": (bytes(_number("llama.context_length", 2**32 - 1)), "from 1 to"),
    "a context length that is text": (bytes(File().set("llama.context_length", STRING, text("512"))), "whole number"),
    "a context length that is NaN": (
        bytes(File().set("llama.context_length", F32, struct.pack("<f", float("nan")))),
        "not a finite number",
    ),
    "no blocks": (bytes(_number("llama.block_count", 0)), "from 1 to 512"),
    "a million blocks": (bytes(_number("llama.block_count", 1_000_000)), "from 1 to 512"),
    "a negative block count": (bytes(File().set("llama.block_count", I32, u32(2**32 - 1))), "from 1 to 512"),
    "an absurd width": (bytes(_number("llama.embedding_length", 2**31)), "llama.embedding_length"),
    "another width than the tensor": (bytes(_number("llama.embedding_length", 16)), "token_embd.weight"),
    "an absurd head count": (bytes(_number("llama.attention.head_count", 2**31)), "head_count"),
    "a head count that is true": (bytes(File().set("llama.attention.head_count", BOOL, b"\1")), "head_count"),
    "an alignment of 0": (bytes(_number("general.alignment", 0)), "power of two"),
    "an alignment of 3": (bytes(_number("general.alignment", 3)), "power of two"),
    "an alignment of 2 GiB": (bytes(_number("general.alignment", 2**31)), "power of two"),
    "an alignment that is text": (bytes(File().set("general.alignment", STRING, text("32"))), "power of two"),
    "too few token types": (
        bytes(File().set("tokenizer.ggml.token_type", ARRAY, array(I32, [u32(1)] * 3))),
        "token_type",
    ),
    "too many scores": (bytes(File().set("tokenizer.ggml.scores", ARRAY, array(F32, [u32(0)] * 9))), "scores"),
    "tokens that are numbers": (
        bytes(File().set("tokenizer.ggml.tokens", ARRAY, array(U32, [u32(1)] * 4))),
        "does not contain strings",
    ),
    "a token twice": (bytes(File().set("tokenizer.ggml.tokens", ARRAY, array(STRING, [text("a")] * 4))), "'a' twice"),
    "more tokens than the tensor": (
        bytes(
            File()
            .without("tokenizer.ggml.scores")
            .without("tokenizer.ggml.token_type")
            .set("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(str(n)) for n in range(9)]))
        ),
        "token_embd.weight",
    ),
    "a template that is not UTF-8": (
        bytes(File().set("tokenizer.chat_template", STRING, text(b"\xff\xfe"))),
        "not valid UTF-8",
    ),
    "a template with NUL": (bytes(File().set("tokenizer.chat_template", STRING, text("a\0b"))), "NUL"),
    "a missing part": (bytes(File().set("split.count", U32, u32(3))), "in 3 parts"),
    "absurdly many parts": (bytes(_number("split.count", 2**31)), "split.count"),
}

_EPSILON = "llama.attention.layer_norm_rms_epsilon"
_INFINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_FLOATS = {F32: "<f", F64: "<d"}


def _not_finite(kind: int, number: str) -> bytes:
    return struct.pack(_FLOATS[kind], _INFINITE[number])


# Numbers that are not finite, of each type and place, and what llama.cpp aborts on.
_ABORTS: dict[str, tuple[bytes, str]] = {
    **{
        f"{key} that is {number} of type {kind}": (
            bytes(File().set(key, kind, _not_finite(kind, number))),
            "not a finite number",
        )
        for key in (_EPSILON, "llama.rope.freq_base", "general.odd")
        for kind in _FLOATS
        for number in _INFINITE
    },
    **{
        f"{key} with an element that is {number} of type {kind}": (
            bytes(
                File().set(
                    key, ARRAY, array(kind, [bytes(struct.calcsize(_FLOATS[kind]))] * 3 + [_not_finite(kind, number)])
                )
            ),
            "not a finite number",
        )
        for key in ("tokenizer.ggml.scores", "llama.rope.freqs", "general.odd")
        for kind in _FLOATS
        for number in _INFINITE
    },
    "a negative epsilon": (bytes(File().set(_EPSILON, F32, struct.pack("<f", -1.0))), "at least 0"),
    "a tokenizer that is a list": (
        bytes(File().set("tokenizer.ggml.model", ARRAY, array(I32, [u32(1)]))),
        "must be a text",
    ),
    "a scaling that is a list": (
        bytes(File().set("llama.rope.scaling.type", ARRAY, array(I32, [u32(1)]))),
        "must be one of",
    ),
    "2147483648 experts": (bytes(_number("llama.expert_count", 2**31)), "from 0 to 512"),
    "experts of which none is used": (bytes(_number("llama.expert_count", 8)), "expert_used_count"),
    "more experts used than there are": (bytes(_number("llama.expert_used_count", 1)), "expert_used_count"),
    "an unknown rope scaling": (bytes(File().set("llama.rope.scaling.type", STRING, text("odd"))), "must be one of"),
    "no vocabulary": (bytes(File().set("tokenizer.ggml.model", STRING, text("none"))), "no vocabulary"),
    "bytes in bert's vocabulary": (
        bytes(
            File()
            .set("tokenizer.ggml.model", STRING, text("bert"))
            .set("tokenizer.ggml.token_type", ARRAY, array(I32, [u32(1), u32(6), u32(1), u32(1)]))
        ),
        "single bytes",
    ),
}

_EMBEDDING = Tensor("token_embd.weight", (8, 4))
_TENSORS: dict[str, tuple[bytes, str]] = {
    "an offset beyond the file": (bytes(_tensors(Tensor("a", (8, 4), offset=2**62))), "begins at byte"),
    "a misaligned offset": (bytes(_tensors(_EMBEDDING, Tensor("b", (8,), offset=129), data=512)), "begins at byte"),
    "overlapping tensors": (bytes(_tensors(_EMBEDDING, Tensor("b", (8,), offset=0), data=512)), "begins at byte"),
    "a tensor longer than the file": (bytes(_tensors(Tensor("a", (8, 5000)))), "truncated"),
    "a second tensor beyond the end": (bytes(_tensors(_EMBEDDING, Tensor("b", (8,), offset=128))), "truncated"),
    "five dimensions": (bytes(_tensors(Tensor("a", (1, 1, 1, 1, 1)))), "5 dimensions"),
    "a huge number of dimensions": (bytes(_tensors(Tensor("a", (1,), dimensions=2**32 - 1))), "dimensions"),
    "a dimension of 0": (bytes(_tensors(Tensor("a", (8, 0)))), "impossible shape"),
    "a negative dimension": (bytes(_tensors(Tensor("a", (2**64 - 1, 4)))), "impossible shape"),
    "a product that overflows 64 bits": (bytes(_tensors(Tensor("a", (2**32, 2**32)))), "impossible shape"),
    "a product that wraps to a small one": (bytes(_tensors(Tensor("a", (2**33, 2**31 + 1, 2)))), "impossible shape"),
    "a size in bytes that overflows": (bytes(_tensors(Tensor("a", (2**31, 2**31)))), "impossible shape"),
    "an unknown tensor type": (bytes(_tensors(Tensor("a", (8, 4), kind=200))), "type 200"),
    "a removed tensor type": (bytes(_tensors(Tensor("a", (32, 4), kind=4))), "type 4"),
    "rows that do not fill a block": (bytes(_tensors(Tensor("a", (8, 4), kind=Q4_0))), "blocks of 32"),
    "a tensor twice": (bytes(_tensors(_EMBEDDING, Tensor("token_embd.weight", (8,), offset=128))), "occurs twice"),
    "a tensor name that is too long": (bytes(_tensors(Tensor("a" * 64, (8, 4)))), "at most 63"),
    "an embedding of one dimension": (bytes(_tensors(Tensor("token_embd.weight", (8,)))), "token_embd.weight"),
}

BROKEN: dict[str, tuple[bytes, str]] = {**_OUTSIDE, **_COUNTS, **_FIELDS, **_ABORTS, **_TENSORS}

_NESTED_RANGES = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
BAD_TEMPLATES: dict[str, str] = {
    "syntax error": "{% for message in messages %}{{ message.content }}",
    "unknown tag": "{% explode %}",
    "raises": "{{ raise_exception('not for you') }}",
    "fails": "{{ messages[0].content + 1 }}",
    "nested ranges": _NESTED_RANGES,
    "doubling": "{% set x = 'a' * 1000 %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "multiplication": "{{ 'a' * 10 ** 10 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "joining": "{{ (['a' * 9999] * 99999) | join('b') }}",
    "padding": "{{ 'a' | center(10 ** 10) }}",
    "format": "{{ '%9999999999d' | format(1) }}",
    "python's inside": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a shell": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


def write_broken_gguf(path: Path, kind: str) -> Path:
    """Writes the file that `BROKEN` has under this name; returns `path`."""
    path.write_bytes(BROKEN[kind][0])
    return path
