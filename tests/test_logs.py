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
