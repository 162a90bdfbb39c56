"""The spool's lines: whole ones are read, damaged ones are detected."""

from __future__ import annotations

import random

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
    assert (one.request_id, one.endpoint, one.status) == ("a", "embeddings", 0)


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\nb", "\x1b[31m", "é" * 1000])
def test_no_text_breaks_a_line(text: str) -> None:
    odd = AccessRecord("a", 1.0, "chat/completions", requested_model=text)
    line = spool_format.record_line(1, odd)
    assert line.count(b"\n") == 1
    assert len(spool_format.read(line + spool_format.record_line(2, record(2))).records) == 2


def test_a_number_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        spool_format.record_line(1, AccessRecord("a", 1.0, "x", prompt_tokens=2**70))
