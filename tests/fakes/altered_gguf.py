"""A whole GGUF file with some metadata fields replaced: llama.cpp reads all of it, and sees the wrong values."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.broken_gguf import ARRAY, STRING, Entry

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ALIGNMENT = 32


def alter(path: Path, changes: Mapping[str, Entry | None]) -> Path:
    """Replaces fields of the file, adds new ones, and removes those whose value is None; returns `path`."""
    data = path.read_bytes()
    version, tensors, count = struct.unpack_from("<IQQ", data, 4)
    place = 24
    fields: dict[str, bytes] = {}
    for _ in range(count):
        begin = place
        (length,) = struct.unpack_from("<Q", data, place)
        key = data[place + 8 : place + 8 + length].decode()
        (kind,) = struct.unpack_from("<I", data, place + 8 + length)
        place = _after(data, place + 12 + length, kind)
        fields[key] = data[begin:place]
    descriptions = place
    for _ in range(tensors):
        (length,) = struct.unpack_from("<Q", data, place)
        (dimensions,) = struct.unpack_from("<I", data, place + 8 + length)
        place += 8 + length + 4 + 8 * dimensions + 4 + 8
    for key, entry in changes.items():
        fields.pop(key, None)
        if entry is not None:
            fields[key] = bytes(entry)
    head = data[:4] + struct.pack("<IQQ", version, tensors, len(fields))
    head += b"".join(fields.values()) + data[descriptions:place]
    path.write_bytes(_padded(head) + data[len(_padded(data[:place])) :])
    return path


def _after(data: bytes, place: int, kind: int) -> int:
    """The end of a value of this kind that begins at `place`."""
    if kind == STRING:
        return place + 8 + int(struct.unpack_from("<Q", data, place)[0])
    if kind != ARRAY:
        return place + _SIZES[kind]
    element, count = struct.unpack_from("<IQ", data, place)
    place += 12
    if element != STRING:
        return place + int(_SIZES[element] * count)
    for _ in range(count):
        place = _after(data, place, STRING)
    return place


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
