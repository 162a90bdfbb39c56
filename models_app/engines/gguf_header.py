"""A bounded reader of GGUF headers. Standard library only, reads no tensor data and maps nothing into memory.

The `gguf` package's reader maps the whole file, builds an object per array element and checks no bound before it
allocates; importing it costs more than a whole scan. This reader walks the header once, keeps only the values that NOA
shows, and rejects every header that llama.cpp would reject, overflow on or abort on.
"""

from __future__ import annotations

import array
import math
import struct
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# Real headers have under 100 fields, 20,000 tensors, 1,000,000 array elements and 20 MB; these bounds leave room.
MAX_FIELDS = 10_000
MAX_TENSORS = 200_000
MAX_ELEMENTS = 8_000_000
MAX_HEADER_BYTES = 256 * 1024 * 1024
MAX_KEY_BYTES = 65_535  # the format's own limit
MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_TEMPLATE_BYTES = 512 * 1024  # the longest chat templates in use have 30 KB
MAX_TENSOR_NAME_BYTES = 63  # llama.cpp's GGML_MAX_NAME, less the closing zero
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 20
# Limits of the returned values: names, numbers and licences, not whole texts.
MAX_KEPT_KEY = 200
MAX_KEPT_STRING = 1000
MAX_KEPT_LIST = 1024  # per-layer numbers; llama.cpp has at most 512 layers
MAX_KEPT_FIELDS = 2000
_INT64_MAX = (1 << 63) - 1

TEMPLATE_KEY = "tokenizer.chat_template"
TOKENS_KEY = "tokenizer.ggml.tokens"
TOKEN_TYPES_KEY = "tokenizer.ggml.token_type"
_BYTE_TOKEN = 6  # llama.cpp's LLAMA_TOKEN_TYPE_BYTE

_STRING, _ARRAY, _BOOL = 8, 9, 7
_FLOATS = {6: "f", 12: "d"}
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}

# ggml's tensor types: name, elements per block, bytes per block.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


class HeaderError(Exception):
    """The header is invalid; the message is a full sentence."""


def _refuse(reason: str) -> NoReturn:
    raise HeaderError(reason)


class Header:
    """The content of a header, unvalidated. Arrays by length only, short number lists also by value.

    Not a dataclass: importing `dataclasses` would take a quarter of a scan.
    """

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.array_lengths: dict[str, int] = {}
        self.template: str | None = None
        self.fill_in_middle_token = False
        self.byte_tokens = False  # whether a token stands for one byte
        self.parameter_count = 0
        self.tensor_bytes: dict[str, int] = {}  # by type name
        self.embedding_shape: list[int] | None = None  # of token_embd.weight: width, vocabulary


# The prefix tokens of known model families' fill-in-the-middle formats.
_FILL_IN_MIDDLE_TOKENS = frozenset(
    token.encode()
    for token in (
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<|fim▁begin|>",
        "<｜fim▁begin｜>",
        "▁<PRE>",
        "<PRE>",
        "<|code_prefix|>",
    )
)


class _Source:
    """Reads little-endian values within the bounds of the file and of the header budget."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.position:
            _refuse(f"The file ends inside {what[0].lower()}{what[1:]}: it is truncated or its header is damaged.")
        if self.position + count > MAX_HEADER_BYTES:
            _refuse(f"The header is longer than {MAX_HEADER_BYTES >> 20} MiB.")
        data = self._file.read(count)
        if len(data) != count:
            _refuse("The file became shorter while it was read.")
        self.position += count
        return data

    def number(self, layout: str, what: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout), what))[0]

    def string(self, what: str, limit: int) -> bytes:
        length = self.number("<Q", what)
        self._check_length(length, what, limit)
        return self.take(length, what)

    def _check_length(self, length: int, what: str, limit: int) -> None:
        if length > limit:
            subject = what[0].upper() + what[1:]
            _refuse(f"{subject} claims a length of {length} bytes; at most {limit} are allowed.")

    def strings(self, count: int, what: str, limit: int) -> Iterator[bytes]:
        """`count` strings. A vocabulary has up to a million, so the loop does the work of `string` inline."""
        read, unpack = self._file.read, struct.Struct("<Q").unpack
        end = min(self.size, MAX_HEADER_BYTES)
        for _ in range(count):
            if self.position + 8 > end:
                self.take(8, what)
            (length,) = unpack(read(8))
            self.position += 8
            if length > limit or self.position + length > end:
                self._check_length(length, what, limit)
                self.take(length, what)
            self.position += length
            yield read(length)


def read_header(file: BinaryIO, size: int) -> Header:
    """Reads the header of a file of `size` bytes from its start; raises HeaderError."""
    source = _Source(file, size)
    header = Header()
    _check_version(source)
    tensors = source.number("<Q", "the tensor count")
    fields = source.number("<Q", "the field count")
    if tensors > MAX_TENSORS:
        _refuse(f"The header claims {tensors} tensors; at most {MAX_TENSORS} are allowed.")
    if fields > MAX_FIELDS:
        _refuse(f"The header claims {fields} metadata fields; at most {MAX_FIELDS} are allowed.")
    seen: set[str] = set()
    for _ in range(fields):
        _read_field(source, header, seen)
    _read_tensors(source, header, tensors)
    return header


def _check_version(source: _Source) -> None:
    if source.size < len(MAGIC) or source.take(4, "the magic number") != MAGIC:
        _refuse("This is not a GGUF file: it does not begin with the letters GGUF.")
    version: int = source.number("<I", "the version")
    if version in VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (*VERSIONS, 1):
        _refuse("This GGUF file is big-endian; convert it with gguf-convert-endian.")
    if version == 1:
        _refuse("This GGUF file has version 1, which llama.cpp no longer reads; convert the model again.")
    _refuse(f"This GGUF file has version {version}; NOA reads versions 2 and 3.")


def _read_field(source: _Source, header: Header, seen: set[str]) -> None:
    raw = source.string("the name of a metadata field", MAX_KEY_BYTES)
    key = raw.decode("utf-8", "backslashreplace")
    shown = key[:80]
    if not key or key in seen:
        _refuse(f"The metadata field '{shown}' occurs twice." if key else "A metadata field has no name.")
    seen.add(key)
    kind = source.number("<I", f"the type of '{shown}'")
    if kind == _ARRAY:
        _read_array(source, header, key)
    elif kind == _STRING:
        _keep_string(header, key, source)
    elif kind in _SCALARS:
        _keep(header, key, _scalar(source, kind, shown))
    else:
        _refuse(f"The metadata field '{shown}' has the unknown type {kind}.")


def _scalar(source: _Source, kind: int, shown: str) -> Any:
    value = source.number(_SCALARS[kind], f"the value of '{shown}'")
    if kind in _FLOATS and not math.isfinite(value):
        _refuse(f"The metadata field '{shown}' is {value}, not a finite number.")
    return bool(value) if kind == _BOOL else value


def _keep_string(header: Header, key: str, source: _Source) -> None:
    is_template = key == TEMPLATE_KEY
    shown = f"The metadata field '{key[:80]}'"
    value = source.string(shown, MAX_TEMPLATE_BYTES if is_template else MAX_STRING_BYTES)
    if is_template:
        header.template = _template_text(value)
    elif len(value) <= MAX_KEPT_STRING:
        _keep(header, key, value.decode("utf-8", "replace"))


def _template_text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("The chat template is not valid UTF-8.")
    if "\0" in text:
        _refuse("The chat template contains a NUL character.")
    return text


def _keep(header: Header, key: str, value: Any) -> None:
    if len(header.fields) < MAX_KEPT_FIELDS and len(key) <= MAX_KEPT_KEY:
        header.fields[key] = value


def _read_array(source: _Source, header: Header, key: str) -> None:
    shown = key[:80]
    kind = source.number("<I", f"the element type of '{shown}'")
    length = source.number("<Q", f"the length of '{shown}'")
    if length > MAX_ELEMENTS:
        _refuse(f"The metadata field '{shown}' claims {length} elements; at most {MAX_ELEMENTS} are allowed.")
    if kind == _ARRAY:
        _refuse(f"The metadata field '{shown}' is an array of arrays, which llama.cpp does not read.")
    if kind != _STRING and kind not in _SCALARS:
        _refuse(f"The metadata field '{shown}' has elements of the unknown type {kind}.")
    header.array_lengths[key] = length
    if key == TOKENS_KEY:
        if kind != _STRING:
            _refuse("The list of tokens does not contain strings.")
        _read_tokens(source, header, length)
    elif kind == _STRING:
        for _ in source.strings(length, f"an element of '{shown}'", MAX_STRING_BYTES):
            pass
    else:
        layout = _SCALARS[kind]
        data = source.take(length * struct.calcsize(layout), f"the elements of '{shown}'")
        _keep_numbers(header, key, length, layout[1], data)


def _keep_numbers(header: Header, key: str, length: int, layout: str, data: bytes) -> None:
    if layout in _FLOATS.values():
        _check_finite(data, layout, key[:80])
    if key == TOKEN_TYPES_KEY:
        header.byte_tokens = _BYTE_TOKEN in struct.unpack(f"<{length}{layout}", data)
    if length <= MAX_KEPT_LIST:
        _keep(header, key, list(struct.unpack(f"<{length}{layout}", data)))


def _check_finite(data: bytes, kind: str, shown: str) -> None:
    values = array.array(kind, data)
    if sys.byteorder == "big":
        values.byteswap()
    if not all(map(math.isfinite, values)):
        _refuse(f"The metadata field '{shown}' has an element that is not a finite number.")


def _read_tokens(source: _Source, header: Header, length: int) -> None:
    tokens: set[bytes] = set()
    for token in source.strings(length, "a token of the vocabulary", MAX_KEY_BYTES):
        # llama.cpp renames empty tokens, but two of the same text abort the process that loads them.
        if token and token in tokens:
            _refuse(f"The vocabulary contains the token '{token.decode('utf-8', 'backslashreplace')[:40]}' twice.")
        tokens.add(token)
    header.fill_in_middle_token = not tokens.isdisjoint(_FILL_IN_MIDDLE_TOKENS)


def _alignment(header: Header) -> int:
    value = header.fields.get("general.alignment", 32)
    if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        _refuse("The alignment in the header is not a power of two up to 1 MiB.")
    return value


def _read_tensors(source: _Source, header: Header, count: int) -> None:
    alignment = _alignment(header)
    names: set[bytes] = set()
    ends: list[tuple[str, int]] = []
    expected = 0
    for _ in range(count):
        raw = source.string("the name of a tensor", MAX_TENSOR_NAME_BYTES)
        name = raw.decode("utf-8", "backslashreplace")
        if raw in names:
            _refuse(f"The tensor '{name}' occurs twice.")
        names.add(raw)
        size = _read_tensor(source, header, name)
        offset = source.number("<Q", f"the offset of tensor '{name}'")
        if offset != expected:
            _refuse(f"The tensor '{name}' begins at byte {offset} of the data where {expected} was expected.")
        ends.append((name, offset + size))
        expected = _aligned(offset + size, alignment)
    available = max(0, source.size - _aligned(source.position, alignment))
    for name, end in ends:
        if end > available:
            _refuse(
                f"The tensor '{name}' ends at byte {end} of the data, but the file has only {available}: "
                "it is truncated. Fetch it again."
            )


def _read_tensor(source: _Source, header: Header, name: str) -> int:
    """Reads shape and type of one tensor; returns its size in bytes."""
    what = f"the description of tensor '{name}'"
    dimensions = source.number("<I", what)
    if dimensions > MAX_DIMENSIONS:
        _refuse(f"The tensor '{name}' has {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed.")
    shape = [source.number("<Q", what) for _ in range(dimensions)]
    elements = 1
    for length in shape:
        elements *= length
        if not 0 < elements <= _INT64_MAX:
            _refuse(f"The tensor '{name}' has an impossible shape: {shape}.")
    kind = source.number("<I", what)
    if kind not in TENSOR_TYPES:
        _refuse(f"The tensor '{name}' has the type {kind}, which this version of NOA does not support.")
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    if (shape[0] if shape else 1) % block:
        _refuse(f"The rows of tensor '{name}' do not divide into blocks of {block} as {type_name} needs.")
    size = elements // block * block_bytes
    if size > _INT64_MAX:
        _refuse(f"The tensor '{name}' has an impossible shape: {shape}.")
    header.parameter_count += elements
    header.tensor_bytes[type_name] = header.tensor_bytes.get(type_name, 0) + size
    if name == "token_embd.weight":
        header.embedding_shape = shape
    return size


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
