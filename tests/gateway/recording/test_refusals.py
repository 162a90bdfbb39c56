"""Rows of refused requests are bounded; their sums are exact."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from models_app.domain.records.access import AccessRecord
from models_app.gateway.edge.app import ENDPOINTS
from models_app.gateway.recording import refusals
from models_app.services.rollups import summing
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import Served, request, serve

COUNT = 300
# At most, of one address or key in a minute; the test can cross into the next minute.
FEW = 2 * (3 + 8)
NO_KEY = {"authorization": ""}
# Name: body and headers of a request that is refused before it reaches a model.
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "no key": ({"model": "current"}, NO_KEY),
    "random keys": ({"model": "current"}, {"authorization": "Bearer noa_{number}_x"}),
    "a malformed header": ({"model": "current"}, {"authorization": "Basic {number}"}),
    "another host": ({"model": "current"}, {"host": "evil.example"}),
    "too large": (b"", NO_KEY | {"content_length": "999999999"}),
}
OF_A_KEY: dict[str, tuple[Any, dict[str, str]]] = {
    "unknown names": ({"model": "name{number}"}, {}),
    "not JSON": (b"{", {}),
    "no model": ({}, {}),
}


def send(served: Served, kind: tuple[Any, dict[str, str]], path: str, count: int) -> None:
    body, headers = kind
    for number in range(count):
        filled = {name: text.replace("{number}", str(number)) for name, text in headers.items()}
        named = (
            {name: text.replace("{number}", str(number)) for name, text in body.items()}
            if isinstance(body, dict)
            else body
        )
        answer = served.ask(request(named, path, **filled))
        assert 400 <= answer.status < 500


def counted(records: list[AccessRecord]) -> int:
    return sum(record.requests for record in records)


@pytest.mark.parametrize("name", KINDS)
def test_requests_without_a_key_make_few_records_and_all_are_counted(upstream: FakeUpstream, name: str) -> None:
    with serve(upstream.path) as served:
        for number, endpoint in enumerate(ENDPOINTS):
            send(served, KINDS[name], endpoint.path, COUNT if not number else 10)
    records = served.stored
    assert len(records) <= FEW
    assert counted(records) == COUNT + 10 * (len(ENDPOINTS) - 1)
    assert {record.key_id for record in records} == {""}
    assert len({record.request_id for record in records}) == len(records)


@pytest.mark.parametrize("name", OF_A_KEY)
def test_refused_requests_of_a_key_make_few_records_and_all_are_counted(upstream: FakeUpstream, name: str) -> None:
    with serve(upstream.path) as served:
        send(served, OF_A_KEY[name], ENDPOINTS[0].path, COUNT)
        served.works()
    assert len(served.stored) <= 2 * 61 + 1
    assert counted(served.stored) == COUNT + 1


def test_the_sums_of_refused_requests_are_those_of_their_rows() -> None:
    stored: list[AccessRecord] = []
    bound = refusals.Refusals(stored.append)
    sent = [
        AccessRecord(f"r{number}", 1e9 + number, "chat/completions", status=401, error_code="a", duration_ms=number)
        for number in range(10)
    ]
    copies = [dataclasses.replace(record) for record in sent]
    for record in sent:
        bound._add(record) if bound._timer else _without_a_loop(bound, record)
    bound.flush()
    (row,) = stored
    assert (row.requests, row.duration_ms) == (10, 4.5)
    (one,) = summing.cells([row]).values()
    many = list(summing.cells(copies).values())
    assert one.requests == sum(sums.requests for sums in many)
    assert one.errors == sum(sums.errors for sums in many)
    assert one.duration_ms == sum(sums.duration_ms for sums in many)
    assert sum(one.durations.values()) == 10


def _without_a_loop(bound: refusals.Refusals, record: AccessRecord) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        bound._add(record)


def test_different_sums_are_bounded() -> None:
    stored: list[AccessRecord] = []
    bound = refusals.Refusals(stored.append)
    for number in range(1000):
        record = AccessRecord(f"r{number}", 1e9, "chat/completions", key_id=f"k{number}", status=429, error_code="b")
        _without_a_loop(bound, record)
    bound.flush()
    assert len(stored) <= refusals._MAX_SUMS + 1
    assert counted(stored) == 1000
