"""The line format of the access log's spool, written by the gateway and read by the recovery.

    <kind> <crc32 of kind and payload, 8 hex digits> <payload, one JSON array without line breaks>\\n

A segment begins with a header (`H`), which names the writer and the fields of the arrays, so that a newer version still
reads the spool of an older one. `B` marks a request that has begun, `E` holds the record of one that has ended. A line
that was cut or damaged fails its checksum; reading resumes after the next line break.
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
# The checksum covers the kind too.
_SEEDS = {kind: zlib.crc32(kind) for kind in (HEADER, BEGUN, ENDED)}
FIELDS = tuple(item.name for item in fields(AccessRecord))
# Fields that are known when a request begins.
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
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "estimated",
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
    """The content of a part of a spool. `last` is the highest record number; `bad` are damaged lines, unchanged."""

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
    """The line for a record. `number` counts those of a process from 1. Raises TypeError for a non-scalar value."""
    return line(ENDED, _dumped((number, *_values(record))))


def mark_line(
    record: AccessRecord,
    *,
    requested_model: str = "",
    route: str = "",
    model_key: str = "",
    provider: str = "",
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    cost_usd: float | None = None,
) -> bytes:
    """The line for a request that has begun. Values that are not in the record yet are passed separately: tokens and
    cost are those that it can use, in case that its end is not recorded.
    """
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
        prompt_tokens,
        completion_tokens,
        cost_usd,
        prompt_tokens is not None,
    )
    return line(BEGUN, _dumped(values))


def _dumped(values: tuple[Any, ...]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:
        # A lone surrogate, which the database would refuse too.
        return orjson.dumps([storable(value) if isinstance(value, str) else value for value in values])


def read(data: bytes, header: Header | None = None) -> Found:
    """Parse the whole lines of `data`; a rest after the last line break is bad.

    `header` is that of the segment, if known.
    """
    found = Found(header=header)
    *lines, rest = data.split(b"\n")
    for raw in lines:
        if not _take(raw, found) and raw:
            found.bad.append(raw)
    if rest:
        found.bad.append(rest)
    return found


def _take(raw: bytes, found: Found) -> bool:
    kind, payload = raw[:1], raw[_PREFIX:]
    seed = _SEEDS.get(kind)
    if seed is None or raw[1:_PREFIX] != b" %08x " % zlib.crc32(payload, seed):
        return False
    try:
        _TAKERS[kind](orjson.loads(payload), found)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def _take_header(values: dict[str, Any], found: Found) -> None:
    known = {item.name for item in fields(Header)}
    header = Header(**{name: value for name, value in values.items() if name in known})
    # Fields of the present version become the same object, so that `_record` recognizes them by identity.
    own = tuple(header.fields), tuple(header.mark_fields)
    found.header = dataclasses.replace(
        header,
        fields=FIELDS if own[0] == FIELDS else own[0],
        mark_fields=own[1],
    )


def _take_record(values: list[Any], found: Found) -> None:
    number, *rest = values
    names = found.header.fields if found.header else FIELDS
    # Before the record is added: a damaged line adds nothing.
    last = max(found.last, number)
    found.records.append(_record(names, rest))
    found.last = last


def _take_mark(values: list[Any], found: Found) -> None:
    names = found.header.mark_fields if found.header else MARK_FIELDS
    found.begun.append(_record(names, values))


def _record(names: Iterable[str], values: list[Any]) -> AccessRecord:
    if names is FIELDS:
        return AccessRecord(*values)
    known = set(FIELDS)
    pairs = zip(names, values, strict=True)
    return AccessRecord(**{name: value for name, value in pairs if name in known})


_TAKERS: dict[bytes, Callable[[Any, Found], None]] = {
    HEADER: _take_header,
    BEGUN: _take_mark,
    ENDED: _take_record,
}
