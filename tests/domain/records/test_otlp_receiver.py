"""Headers for a receiver of traces, and the pauses between attempts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from models_app.domain.records.otlp_receiver import parse_headers, pause

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        (" a = b , c=d ,", {"a": "b", "c": "d"}),
        ("Authorization=Basic%20cGs6c2s=", {"Authorization": "Basic cGs6c2s="}),
        ("Authorization=Basic cGs6c2s%3D", {"Authorization": "Basic cGs6c2s="}),
        ("a=%2C%25", {"a": ",%"}),
        ("a=", {"a": ""}),
        ("a=1,a=2", {"a": "2"}),
    ],
)
def test_headers_are_decoded(text: str, headers: dict[str, str]) -> None:
    assert parse_headers(text) == headers


@pytest.mark.parametrize(
    "text", ["secret", "=secret", "a b=secret", "a=%0d%0aX: secret", "a=secret%00", "a=s%C3%A9cret", "Host=secret"]
)
def test_what_is_no_header_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(ValueError, match="header|value|cannot") as caught:
        parse_headers(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("attempt", "retry_after", "seconds"),
    [
        (1, None, 1),
        (2, None, 2),
        (4, None, 8),
        (9, None, 30),
        (1, "7", 7),
        (4, "0", 0),
        (1, "86400", 30),
        (1, "9" * 400, 30),
        (1, "Tue, 01 Dec 2026 12:00:05 GMT", 5),
        (1, "Tue, 01 Dec 2026 11:00:00 GMT", 0),
        (2, "Tue, 01 Dec 2026 12:00:05", 2),
        (2, "soon", 2),
        (2, "-1", 2),
        (2, "\u0667", 2),
    ],
)
def test_a_pause_is_what_the_receiver_names_or_grows(attempt: int, retry_after: str | None, seconds: float) -> None:
    assert pause(attempt, 1.0, retry_after, NOW) == seconds
