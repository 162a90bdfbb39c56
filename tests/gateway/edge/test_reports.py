"""Reports of circuits: stored in order, by another thread, also after an error of an earlier one."""

from __future__ import annotations

import logging
import threading

import pytest

from models_app.domain.residency.breaker import BreakerState
from models_app.gateway.edge.reports import Reports

OPEN, CLOSED = BreakerState.OPEN, BreakerState.CLOSED


def test_they_are_told_in_order_from_another_thread() -> None:
    stored: list[tuple[str, BreakerState, str, bool]] = []
    here = threading.current_thread()

    def sink(provider: str, state: BreakerState, reason: str) -> None:
        stored.append((provider, state, reason, threading.current_thread() is here))

    reports = Reports(sink)
    reports.report("a", OPEN, "down")
    reports.report("a", CLOSED, "")
    reports.close()
    assert stored == [("a", OPEN, "down", False), ("a", CLOSED, "", False)]


def test_a_sink_that_hangs_does_not_hold_up_who_reports() -> None:
    go = threading.Event()

    def hang(*_: object) -> None:
        go.wait(10)

    reports = Reports(hang)
    for _ in range(100):
        reports.report("a", OPEN, "down")
    go.set()
    reports.close()


def test_a_sink_that_fails_is_logged_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    stored: list[BreakerState] = []

    def sink(provider: str, state: BreakerState, reason: str) -> None:
        if state is OPEN:
            raise OSError("the database is away")
        stored.append(state)

    reports = Reports(sink)
    with caplog.at_level(logging.ERROR):
        reports.report("a", OPEN, "down")
        reports.report("a", CLOSED, "")
        reports.close()
    assert stored == [CLOSED]
    assert "The provider 'a' is open" in caplog.text


def test_nothing_is_started_for_a_gateway_without_providers() -> None:
    before = threading.active_count()
    reports = Reports(lambda *_: None)
    reports.close()
    assert threading.active_count() == before
