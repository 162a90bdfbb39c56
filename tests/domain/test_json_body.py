"""The bodies that NOA accepts as JSON objects."""

from __future__ import annotations

import pytest

from models_app.domain import json_body
from models_app.domain.errors import InvalidRequest

BAD = {
    "empty": b"",
    "null": b"null",
    "a scalar": b"5",
    "a string": b'"text"',
    "an array": b"[]",
    "truncated": b'{"a": 1',
    "trailing bytes": b'{"a": 1} x',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "bad UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e400": b'{"a": 1e400}',
    "an integer of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "65 levels": b'{"a":' * 65 + b"1" + b"}" * 65,
    "1,000 levels": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "100,000 levels": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lone surrogate": b'{"a": "\\ud800"}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1 /* one */}',
    "control character": b'{"a": "\x01"}',
    "form": b"a=1&b=2",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_it_refuses(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        json_body.decode(body)
    assert refusal.value.code == "invalid_json"


def test_it_takes_64_levels() -> None:
    json_body.decode(b'{"a":' * 64 + b"1" + b"}" * 64)


def test_what_it_repeats_of_the_client_is_short_and_printable() -> None:
    text = json_body.shown("\x1b[31m" + "x" * 1000)
    assert len(text) < 100
    assert text.isprintable()
