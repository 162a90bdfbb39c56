"""The server's log: as text or JSON, and no input can forge a line of it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from models_app.domain.request_context import request_id
from noa_site import logs

EVIL = "name\r\n2026-01-01 INFO root: all is well\x1b[2J\u2028\x9b"


def record(message: str, *values: object, exc_info: bool = False) -> logging.LogRecord:
    return logging.LogRecord(
        "models_app.x", logging.WARNING, "x.py", 1, message, values, sys.exc_info() if exc_info else None
    )


def plain() -> logging.Formatter:
    return logs.Plain("%(levelname)s %(name)s: %(message)s")


def test_a_line_of_json_has_what_programs_look_for() -> None:
    token = request_id.set("abc")
    try:
        line = json.loads(logs.Json().format(record("loaded %s", "a model")))
    finally:
        request_id.reset(token)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "loaded a model", "level": "warning", "logger": "models_app.x", "request_id": "abc"}


def test_a_line_of_text_ends_with_the_request() -> None:
    token = request_id.set("abc")
    try:
        assert plain().format(record("loaded")) == "WARNING models_app.x: loaded [abc]"
    finally:
        request_id.reset(token)
    assert plain().format(record("loaded")) == "WARNING models_app.x: loaded"


@pytest.mark.parametrize("formatter", [plain(), logs.Json()])
def test_no_input_makes_a_second_line_or_paints_the_terminal(formatter: logging.Formatter) -> None:
    text = formatter.format(record("the model %s is not known", EVIL))
    assert len(text.splitlines()) == 1
    assert "\x9b" not in text
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_traceback_is_kept_by_both() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record("it failed", exc_info=True)
    assert "ValueError: broken" in json.loads(logs.Json().format(failed))["exception"]
    assert plain().format(failed).count("\n") >= 3


def at(second: float, message: str, *values: object, level: int = logging.ERROR) -> logging.LogRecord:
    made = record(message, *values)
    made.created, made.levelno = second, level
    return made


def test_records_of_one_kind_are_bounded_and_the_rest_is_counted() -> None:
    bound = logs.Bounded()
    assert sum(bool(bound.filter(at(0.0, "request %s failed", number))) for number in range(500)) == logs._EACH
    assert bound.filter(at(1.0, "another kind"))
    later = at(61.0, "request %s failed", 501)
    assert bound.filter(later)
    assert later.getMessage() == f"request 501 failed ({500 - logs._EACH} similar ones were left out before)"
    once_more = at(62.0, "request %s failed", 502)
    assert bound.filter(once_more)
    assert once_more.getMessage() == "request 502 failed"


def test_kinds_are_bounded_too_and_plain_lines_are_not() -> None:
    bound = logs.Bounded()
    kept = sum(bool(bound.filter(at(0.0, f"request {number} failed"))) for number in range(5000))
    assert kept == logs._KINDS
    assert all(bound.filter(at(0.0, "loaded", level=logging.INFO)) for _ in range(1000))
    for minute in range(50):
        for number in range(100):
            bound.filter(at(60.0 * minute, f"{minute} {number}"))
    assert len(bound._left_out) <= logs._KINDS
