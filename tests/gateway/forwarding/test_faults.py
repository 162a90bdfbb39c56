"""Faults of providers: the error, the verdict, and whether a retry is safe. On the wire: test_remote_faults.py."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.gateway.dialects.streams import ErrorEvent
from models_app.gateway.forwarding import faults
from models_app.gateway.forwarding.faults import Verdict

SECRET = "canary-7f3a-secret"
# Every status that says that the request is refused, not NOA.
REFUSALS = sorted(set(range(400, 500)) - {401, 407, 429})
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
        *((status, status, "provider_error", Verdict.REFUSED_REQUEST, None) for status in REFUSALS),
        (401, 502, "provider_auth_failed", Verdict.AUTH_REFUSED, None),
        (407, 502, "provider_error", Verdict.FAILED, None),
        (429, 429, "provider_rate_limited", Verdict.LIMITED, None),
        (500, 502, "provider_error", Verdict.FAILED, None),
        (501, 502, "provider_error", Verdict.FAILED, None),
        (502, 502, "provider_error", Verdict.FAILED, 0),
        (503, 502, "provider_error", Verdict.FAILED, 0),
        (504, 502, "provider_error", Verdict.FAILED, 0),
        (529, 502, "provider_error", Verdict.FAILED, 0),
        (599, 502, "provider_error", Verdict.FAILED, None),
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
        (b'{"error": "No.", "code": "bad_thing"}', "bad_thing", "No."),
        (b'{"detail": "No."}', "provider_error", "No."),
        (b'{"detail": [{"loc": ["body", "x"], "msg": "No."}]}', "provider_error", "No."),
        (b'[{"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}]', "INVALID_ARGUMENT", "No."),
        (
            b'{"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}',
            "invalid_request_error",
            "No.",
        ),
        (b'{"error": ["No."]}', "provider_error", "status 400"),
        (b'"No."', "provider_error", "No."),
        (b"No.", "provider_error", "No."),
        (b'{"error": {"message": "No', "provider_error", "status 400"),
        (b"\xff\xfe", "provider_error", "reports"),
        (b'{"message": ' + b"[" * 500 + b"]" * 500 + b"}", "provider_error", "status 400"),
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


@pytest.mark.parametrize(
    ("status", "body", "is_about_key"),
    [
        (401, b"", True),
        (401, b'{"error": {"message": "No.", "code": "invalid_api_key"}}', True),
        (401, b'{"error": {"message": "No.", "type": "key_model_access_denied"}}', False),
        (403, b"", False),
        (403, b"<html>Forbidden</html>", False),
        (403, b'{"error": {"message": "No.", "code": "invalid_api_key"}}', True),
        (403, b'{"error": {"message": "No.", "type": "authentication_error"}}', True),
        (403, b'{"error": {"message": "No.", "code": "account_deactivated"}}', True),
        (403, b'{"error": {"code": 403, "message": "No.", "status": "UNAUTHENTICATED"}}', True),
        (403, b'{"error": {"code": 403, "message": "No.", "status": "PERMISSION_DENIED"}}', False),
        (
            403,
            b'{"type": "error", "error": {"type": "permission_error", "message": "Your API key is not valid here"}}',
            False,
        ),
        (403, b'{"error": {"message": "No.", "code": "model_not_allowed"}}', False),
        (403, b'{"error": {"message": "No.", "code": "unsupported_country_region_territory"}}', False),
        (
            403,
            b'{"error": {"message": "No.", "type": "authentication_error", "code": "content_policy_violation"}}',
            False,
        ),
        (403, b'{"detail": "Not authenticated"}', True),
        (403, b"Invalid API key.", True),
        (403, b'{"error": {"message": "Refused: \'Invalid API key\' is a forbidden prompt"}}', False),
        (403, b'{"error": {"message": "Forbidden", "metadata": {"raw": "invalid_api_key"}}}', False),
        (402, b'{"error": {"message": "No.", "code": "invalid_api_key"}}', False),
        (500, b'{"error": {"message": "No.", "code": "invalid_api_key"}}', False),
    ],
)
def test_only_the_provider_can_say_that_its_key_is_refused(status: int, body: bytes, is_about_key: bool) -> None:
    fault = faults.from_answer(status, {}, body, ENDPOINT)
    assert (fault.verdict is Verdict.AUTH_REFUSED) == is_about_key
    assert (fault.error.code == "provider_auth_failed") == is_about_key
    # A client that gets 401 would take its own key for wrong.
    assert fault.error.http_status != 401


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_arrives_with_status_and_words(status: int) -> None:
    body = b'{"error": {"message": "Out of luck.", "type": "luck_error", "code": "no_luck", "param": "luck"}}'
    error = faults.from_answer(status, {b"retry-after": b"3"}, body, ENDPOINT).error
    shown = error.body()["error"]
    assert (error.http_status, shown["type"], shown["code"], shown["param"]) == (
        status,
        "luck_error",
        "no_luck",
        "luck",
    )
    assert "Out of luck." in shown["message"]
    assert error.retry_after == 3


@pytest.mark.parametrize(
    ("event", "status", "verdict"),
    [
        ({"code": 402, "message": "No credits."}, 402, Verdict.REFUSED_REQUEST),
        ({"code": 403, "message": "Moderated."}, 403, Verdict.REFUSED_REQUEST),
        ({"code": 429, "message": "Slow down."}, 429, Verdict.LIMITED),
        ({"type": "invalid_request_error", "message": "No."}, 400, Verdict.REFUSED_REQUEST),
        ({"type": "permission_error", "message": "No."}, 403, Verdict.REFUSED_REQUEST),
        # An aggregator's own key was refused further on: NOA's was not.
        ({"code": 401, "message": "No."}, 502, Verdict.FAILED),
        ({"code": 502, "message": "No."}, 502, Verdict.FAILED),
        ({"type": "overloaded_error", "message": "No."}, 502, Verdict.FAILED),
        ({"message": "No."}, 502, Verdict.FAILED),
        ({}, 502, Verdict.FAILED),
    ],
)
def test_a_refusal_within_an_answer_is_one(event: dict[str, Any], status: int, verdict: Verdict) -> None:
    fault = faults.in_answer(ErrorEvent(event), ENDPOINT)
    assert (fault.error.http_status, fault.verdict) == (status, verdict)
