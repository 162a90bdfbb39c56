"""Faults of providers: the error, the verdict, and whether a retry is safe. On the wire: test_remote_faults.py."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.forwarding import faults
from models_app.gateway.forwarding.faults import Verdict

SECRET = "canary-7f3a-secret"
ENDPOINT = RemoteEndpoint("box", ProviderKind.OPENAI, "https://box.example/v1", "m", SECRET)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("2", 2),
        ("1.5", 1.5),
        ("-3", 0),
        ("1e999", 86_400),
        ("99999999999", 86_400),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_it_reads_what_to_wait_for(said: str, seconds: float | None) -> None:
    assert faults.retry_after({b"retry-after": said.encode()}) == seconds


def test_it_reads_a_date_to_wait_for() -> None:
    said = formatdate(time.time() + 100, usegmt=True).encode()
    assert faults.retry_after({b"retry-after": said}) == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("status", "told", "code", "verdict", "wait"),
    [
        (400, 400, "provider_error", Verdict.REFUSED_REQUEST, None),
        (401, 502, "provider_auth_failed", Verdict.AUTH_REFUSED, None),
        (402, 502, "provider_error", Verdict.FAILED, None),
        (403, 502, "provider_auth_failed", Verdict.AUTH_REFUSED, None),
        (404, 404, "provider_error", Verdict.REFUSED_REQUEST, None),
        (408, 502, "provider_error", Verdict.FAILED, None),
        (413, 413, "provider_error", Verdict.REFUSED_REQUEST, None),
        (418, 502, "provider_error", Verdict.FAILED, None),
        (422, 422, "provider_error", Verdict.REFUSED_REQUEST, None),
        (429, 429, "provider_rate_limited", Verdict.LIMITED, None),
        (500, 502, "provider_error", Verdict.FAILED, None),
        (501, 502, "provider_error", Verdict.FAILED, None),
        (502, 502, "provider_error", Verdict.FAILED, 0),
        (503, 502, "provider_error", Verdict.FAILED, 0),
        (504, 502, "provider_error", Verdict.FAILED, 0),
        (529, 502, "provider_error", Verdict.FAILED, 0),
    ],
)
def test_a_status_is_told_and_learned(status: int, told: int, code: str, verdict: Verdict, wait: float | None) -> None:
    fault = faults.from_answer(status, {}, b"", ENDPOINT)
    assert (fault.error.http_status, fault.error.code) == (told, code)
    assert (fault.verdict, fault.wait) == (verdict, wait)
    assert fault.error.details == {"provider": "box", "status": status}
    assert fault.error.message.endswith(".")


@pytest.mark.parametrize(
    ("status", "said", "wait", "told"),
    [
        (429, b"1", 1, 1),
        (429, b"0.2", 0.2, 1),
        (429, b"3", None, 3),
        (503, b"2", 2, 2),
        (503, b"60", None, 60),
    ],
)
def test_a_short_wait_is_waited_and_a_long_one_is_the_clients(
    status: int, said: bytes, wait: float | None, told: int
) -> None:
    fault = faults.from_answer(status, {b"retry-after": said}, b"", ENDPOINT)
    assert (fault.wait, fault.error.retry_after) == (wait, told)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error": {"message": "No.", "code": "bad_thing"}}', "bad_thing", "No."),
        (b'{"error": {"message": "No.", "type": "bad_type", "code": null}}', "bad_type", "No."),
        (b'{"error": "No."}', "provider_error", "No."),
        (b'{"message": "No.", "code": 400}', "provider_error", "No."),
        (b'{"error": {"message": "No.", "code": "a\\r\\nb"}}', "provider_error", "No."),
        (b'{"error": {"message": ["No."], "code": {}}}', "provider_error", "No."),
        (
            b'{"error": {"message": "prompt is too long: 9 > 8"}}',
            "context_length_exceeded",
            "9 > 8",
        ),
        (b"<html>No.</html>", "provider_error", "status 400"),
        (b"[" * 500, "provider_error", "status 400"),
    ],
)
def test_the_words_of_every_kind_of_server_are_found(body: bytes, code: str, message: str) -> None:
    error = faults.from_answer(400, {}, body, ENDPOINT).error
    assert error.code == code
    assert message in error.message


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_no_secret_is_told(status: int) -> None:
    body = f'{{"error": {{"message": "Key {SECRET} and sk-proj-abcdef123 and Bearer xyz are bad."}}}}'
    message = faults.from_answer(status, {}, body.encode(), ENDPOINT).error.message
    assert SECRET not in message and "abcdef" not in message and "xyz" not in message
    assert "are bad." in message


def test_a_long_message_is_cut() -> None:
    body = b'{"error": {"message": "%b"}}' % (b"x" * 60_000)
    assert len(faults.from_answer(400, {}, body, ENDPOINT).error.message) < 1200
