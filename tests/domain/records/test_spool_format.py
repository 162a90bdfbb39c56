"""The spool's lines: whole ones are read, damaged ones are detected."""

from __future__ import annotations

import dataclasses
import random
import zlib
from typing import Any

import orjson
import pytest

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.spool_format import Header

HEADER = Header("0123456789abcdef", "local", 7, 1_700_000_000.0)


def record(number: int) -> AccessRecord:
    return AccessRecord(
        f"0123456789abcdef-{number:x}",
        1_700_000_000.5 + number,
        "chat/completions",
        key_id="k",
        model_key="openai:é",
        status=200,
        prompt_tokens=number,
        cost_usd=0.001,
        duration_ms=1.5,
    )


def spool(count: int) -> bytes:
    lines = [spool_format.header_line(HEADER)]
    for number in range(1, count + 1):
        lines.append(spool_format.mark_line(record(number), route="current"))
        lines.append(spool_format.record_line(number, record(number)))
    return b"".join(lines)


def test_what_was_written_is_read() -> None:
    found = spool_format.read(spool(3))
    assert found.header is not None
    assert (found.header.recorder, found.header.pid, found.last, found.bad) == (HEADER.recorder, 7, 3, [])
    assert found.records == [record(number) for number in (1, 2, 3)]
    assert [one.route for one in found.begun] == ["current"] * 3


@pytest.mark.parametrize("cuts", [100, pytest.param(1_000, marks=pytest.mark.wide)])
def test_a_cut_anywhere_costs_only_the_line_that_it_meets(cuts: int) -> None:
    whole, chance = spool(20), random.Random(cuts)
    for _ in range(cuts):
        end = chance.randrange(len(whole) + 1)
        found = spool_format.read(whole[:end])
        lines = whole[:end].split(b"\n")[:-1]
        ended = sum(one.startswith(b"E ") for one in lines)
        assert len(found.records) == ended
        assert found.records == [record(number) for number in range(1, ended + 1)]
        assert len(found.bad) == (not whole[:end].endswith(b"\n") and end > 0)


@pytest.mark.parametrize("damages", [100, pytest.param(1_000, marks=pytest.mark.wide)])
def test_garbage_anywhere_costs_only_the_lines_that_it_meets(damages: int) -> None:
    whole, chance = spool(20), random.Random(damages)
    lines = whole.splitlines(keepends=True)
    for _ in range(damages):
        hit = chance.randrange(1, len(lines))
        piece = bytearray(lines[hit])
        place = chance.randrange(len(piece) - 1)
        piece[place] ^= chance.randrange(1, 256)
        found = spool_format.read(b"".join([*lines[:hit], bytes(piece), *lines[hit + 1 :]]))
        lost = lines[hit].startswith(b"E")
        assert len(found.records) == 20 - lost
        # Damage by a line break splits a line.
        assert 1 <= len(found.bad) <= 2


def test_a_newer_version_reads_what_an_older_one_left() -> None:
    old = Header("0" * 16, "local", 7, 1.0, fields=("request_id", "started_at", "endpoint", "gone"))
    line = spool_format.line(b"E", orjson.dumps((1, "a", 1.5, "embeddings", "x")))
    (one,) = spool_format.read(spool_format.header_line(old) + line).records
    assert one == AccessRecord("a", 1.5, "embeddings")


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\nb", "\x1b[31m", "é" * 1000])
def test_no_text_breaks_a_line(text: str) -> None:
    odd = AccessRecord("a", 1.0, "chat/completions", requested_model=text)
    line = spool_format.record_line(1, odd)
    assert line.count(b"\n") == 1
    assert len(spool_format.read(line + spool_format.record_line(2, record(2))).records) == 2


def test_a_number_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        spool_format.record_line(1, AccessRecord("a", 1.0, "x", prompt_tokens=2**70))


def test_a_line_is_kind_checksum_and_payload() -> None:
    for kind in (b"H", b"B", b"E"):
        assert spool_format.line(kind, b"[1]") == b"%b %08x [1]\n" % (kind, zlib.crc32(kind + b"[1]"))
    # Checksums that begin with zeros have 8 digits too.
    line = next(line for line in (spool_format.line(b"E", b"[%d]" % n) for n in range(1000)) if line[2:3] == b"0")
    assert line[10:11] == b" "


def test_a_mark_holds_what_is_known_when_a_request_begins() -> None:
    begun = AccessRecord("a", 1.5, "embeddings", key_id="k", stream=True, client="::1", client_request_id="c")
    mark = spool_format.mark_line(
        begun,
        requested_model="m",
        route="r",
        model_key="x:m",
        provider="x",
        prompt_tokens=3,
        completion_tokens=4,
        cost_usd=0.5,
    )
    known: dict[str, Any] = {"requested_model": "m", "route": "r", "model_key": "x:m", "provider": "x"}
    used: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": 4, "cost_usd": 0.5, "estimated": True}
    for found in (spool_format.read(mark), spool_format.read(mark, HEADER)):
        assert found.begun == [dataclasses.replace(begun, **known, **used)]
        assert (found.records, found.bad, found.last) == ([], [], 0)
    assert spool_format.read(spool_format.mark_line(begun)).begun == [begun]


def test_the_header_of_a_segment_is_read_as_it_was_written() -> None:
    found = spool_format.read(spool_format.header_line(HEADER))
    assert found.header == HEADER
    assert found.header is not None
    # Recognized by identity: the fast way to read records.
    assert found.header.fields is spool_format.FIELDS
    other = dataclasses.replace(HEADER, fields=("request_id",), mark_fields=("request_id", "x"))
    assert spool_format.read(spool_format.header_line(other)).header == other
    newer = spool_format.line(b"H", orjson.dumps(dataclasses.asdict(HEADER) | {"added_later": 1}))
    assert spool_format.read(newer).header == HEADER


def test_a_known_header_is_used_where_a_part_begins_in_the_middle() -> None:
    old = dataclasses.replace(
        HEADER, fields=("request_id", "started_at", "endpoint"), mark_fields=("request_id", "started_at", "endpoint")
    )
    data = spool_format.line(b"E", b'[5,"a",1.5,"x"]') + spool_format.line(b"B", b'["b",2.5,"y"]')
    found = spool_format.read(data, old)
    assert found.header == old
    assert found.records == [AccessRecord("a", 1.5, "x")]
    assert found.begun == [AccessRecord("b", 2.5, "y")]
    # Without it, the fields are those of this version.
    assert spool_format.read(spool_format.record_line(1, record(1))).records == [record(1)]


def test_the_highest_number_is_the_last() -> None:
    data = b"".join(spool_format.record_line(number, record(number)) for number in (3, 9, 5))
    assert spool_format.read(data).last == 9


@pytest.mark.parametrize(
    "raw",
    [
        b"X 00000000 []",
        b"garbage",
        spool_format.line(b"E", b"[1]").replace(b"[1]", b"[2]")[:-1],
        b"E" + spool_format.line(b"B", b"[1]")[1:-1],
        spool_format.line(b"E", b"not json")[:-1],
        spool_format.line(b"E", b"{}")[:-1],
        spool_format.line(b"E", b"5")[:-1],
        spool_format.line(b"E", b'[1,"a"]')[:-1],
        spool_format.line(b"E", orjson.dumps(["1", "a", 1.5, "x"]))[:-1],
        spool_format.line(b"B", b'["a",1.5]')[:-1],
        spool_format.line(b"B", b'["a",1.5,"x"]')[:-1],
        spool_format.line(b"H", b"{}")[:-1],
        spool_format.line(b"H", b"[]")[:-1],
    ],
)
def test_a_damaged_line_is_kept_and_the_others_are_read(raw: bytes) -> None:
    good = spool_format.record_line(1, record(1))
    found = spool_format.read(good + raw + b"\n\n" + spool_format.record_line(2, record(2)))
    assert found.bad == [raw]
    assert found.records == [record(1), record(2)]
    assert spool_format.read(good + raw).bad == [raw]
