"""The lines of the access log's spool: what the gateway writes and who ships it reads.

    <kind> <crc32 of kind and payload, 8 hex digits> <payload, one JSON array without line breaks>\\n

A segment begins with a header (`H`), which says who writes and how the arrays are to be read, so that a newer version
still reads what an older one left. `B` marks a request that has begun, `E` holds the record of one that has ended. A
line that was cut or damaged fails its checksum, and the next line break is where good lines begin again.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson

from models_app.domain.records.access import AccessRecord
from models_app.domain.records.confidential import storable

HEADER, BEGUN, ENDED = b"H", b"B", b"E"
# The kind is part of what the checksum covers.
_SEEDS = {kind: zlib.crc32(kind) for kind in (HEADER, BEGUN, ENDED)}
FIELDS = tuple(one.name for one in fields(AccessRecord))
# What is known of a request when it begins.
MARK_FIELDS = (
    "request_id",
    "started_at",
    "endpoint",
    "key_id",
    "requested_model",
    "route",
    "model_key",
    "provider",
    "stream",
    "client",
    "client_request_id",
)
_PREFIX = len(b"E 01234567 ")
_values = attrgetter(*FIELDS)


@dataclass(frozen=True, slots=True)
class Header:
    """`recorder` is the id of the writer, with which its request ids begin."""

    recorder: str
    node: str
    pid: int
    started_at: float
    fields: tuple[str, ...] = FIELDS
    mark_fields: tuple[str, ...] = MARK_FIELDS


@dataclass(slots=True)
class Found:
    """What a piece of a spool holds. `last` is the highest number of a record; `bad` are damaged lines as they are."""

    header: Header | None = None
    records: list[AccessRecord] = field(default_factory=list)
    begun: list[AccessRecord] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    last: int = 0


def line(kind: bytes, payload: bytes) -> bytes:
    return b"%b %08x %b\n" % (kind, zlib.crc32(payload, _SEEDS[kind]), payload)


def header_line(header: Header) -> bytes:
    return line(HEADER, orjson.dumps(header))


def record_line(number: int, record: AccessRecord) -> bytes:
    """`number` counts the records of a process from 1. Raises TypeError for what is no text and no number."""
    return line(ENDED, _dumped((number, *_values(record))))


def mark_line(
    record: AccessRecord,
    *,
    requested_model: str = "",
    route: str = "",
    model_key: str = "",
    provider: str = "",
) -> bytes:
    """What is not in the record yet comes beside it: the order is that of `MARK_FIELDS`."""
    values = (
        record.request_id,
        record.started_at,
        record.endpoint,
        record.key_id,
        requested_model,
        route,
        model_key,
        provider,
        record.stream,
        record.client,
        record.client_request_id,
    )
    return line(BEGUN, _dumped(values))


def _dumped(values: tuple[Any, ...]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:
        # A lone surrogate, which the database would not take either.
        return orjson.dumps([storable(one) if isinstance(one, str) else one for one in values])


def read(data: bytes, header: Header | None = None) -> Found:
    """The whole lines of `data`; what follows the last line break is bad. `header` is that of the segment, if known."""
    found = Found(header=header)
    *lines, rest = data.split(b"\n")
    for one in lines:
        if not _take(one, found) and one:
            found.bad.append(one)
    if rest:
        found.bad.append(rest)
    return found


def _take(one: bytes, found: Found) -> bool:
    kind, payload = one[:1], one[_PREFIX:]
    seed = _SEEDS.get(kind)
    if seed is None or one[1:_PREFIX] != b" %08x " % zlib.crc32(payload, seed):
        return False
    try:
        _TAKERS[kind](orjson.loads(payload), found)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _take_header(values: dict[str, Any], found: Found) -> None:
    known = {one.name for one in fields(Header)}
    header = Header(**{name: value for name, value in values.items() if name in known})
    # The usual ones are the same object, by which they are told from older ones at no cost.
    own = tuple(header.fields), tuple(header.mark_fields)
    found.header = dataclasses.replace(
        header,
        fields=FIELDS if own[0] == FIELDS else own[0],
        mark_fields=own[1],
    )


def _take_record(values: list[Any], found: Found) -> None:
    number, *rest = values
    names = found.header.fields if found.header else FIELDS
    found.records.append(_record(names, rest))
    found.last = max(found.last, number)


def _take_mark(values: list[Any], found: Found) -> None:
    names = found.header.mark_fields if found.header else MARK_FIELDS
    found.begun.append(_record(names, values))


def _record(names: Iterable[str], values: list[Any]) -> AccessRecord:
    if names is FIELDS:
        return AccessRecord(*values)
    known = set(FIELDS)
    given = dict(zip(names, values, strict=True))
    return AccessRecord(**{name: value for name, value in given.items() if name in known})


_TAKERS: dict[bytes, Callable[[Any, Found], None]] = {
    HEADER: _take_header,
    BEGUN: _take_mark,
    ENDED: _take_record,
}
