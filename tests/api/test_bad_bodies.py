"""Invalid JSON, and JSON objects that fit no operation, sent to every operation with a body."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test import Client

from models_app.models import Job
from models_app.tasks import queueing
from tests.api import walking
from tests.api.conftest import Api
from tests.api.walking import Operation

pytestmark = pytest.mark.wide

TAKING = [one for one in walking.operations() if one.method in ("post", "put", "patch")]
_CLIENT = Client()
_HUGE = 1024 * 1024

# The parser refuses these for every operation.
NO_JSON: dict[str, bytes] = {
    "null": b"null",
    "a number": b"7",
    "a string": b'"key"',
    "an array": b"[]",
    "an array of objects": b'[{"key": "llama.cpp:a"}]',
    "cut short": b'{"key": "llama',
    "only an opening brace": b"{",
    "trailing bytes": b"{} x",
    "two objects": b"{}{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"key": 1}'.encode("utf-16"),
    "bad UTF-8": b'{"key": "\xff"}',
    "a lone surrogate": b'{"key": "\\ud800"}',
    "a raw surrogate": b'{"key": "\xed\xa0\x80"}',
    "a NUL": b'{"key": "a\\u0000b"}',
    "a NUL in a name": b'{"a\\u0000b": 1}',
    "a raw NUL": b'{"key": "\x00"}',
    "NaN": b'{"key": NaN}',
    "Infinity": b'{"key": -Infinity}',
    "1e400": b'{"key": 1e400}',
    "a number of 5,000 digits": b'{"key": ' + b"9" * 5000 + b"}",
    "65 levels": b'{"key":' + b"[" * 65 + b"]" * 65 + b"}",
    "1,000 levels": b'{"key":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "100,000 levels": b'{"key":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "compressed": gzip.compress(b"{}"),
}
# JSON objects that fit no operation.
STRANGE: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n ",
    "no fields": b"{}",
    "the same name twice": b'{"key": "llama.cpp:a", "key": 7}',
    "a name of a MiB": b'{"' + b"k" * _HUGE + b'": 1}',
    "a text of a MiB": b'{"key": "' + b"k" * _HUGE + b'"}',
    "100,000 names": b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}",
    "64 levels": b'{"key":' + b"[" * 62 + b"]" * 62 + b"}",
    "a large whole number": b'{"key": 18446744073709551616, "n_ctx": 9223372036854775808}',
    "a name that means something to Python": b'{"__class__": {}, "constructor": {}, "__proto__": {}}',
    "the empty name": b'{"": ""}',
}
every_operation = pytest.mark.parametrize("operation", TAKING, ids=str)


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


def send(admin: Api, operation: Operation, body: bytes, content_type: str = "application/json") -> Any:
    method = getattr(_CLIENT, operation.method)
    return method(operation.path, data=body, content_type=content_type, headers=admin._headers)


def checked(answer: Any, status: int | None = None) -> Any:
    """The error in the answer, or None; fails on an HTML page, a traceback or a 5xx."""
    assert answer.status_code < 500, answer.content
    assert status is None or answer.status_code == status, answer.content
    assert answer["X-Request-ID"]
    if answer.status_code < 400:
        return None
    assert answer["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert error["message"].endswith((".", "…")), error["message"]
    assert error["code"]
    assert error["request_id"] == answer["X-Request-ID"]
    assert len(answer.content) < 4000
    return error


@pytest.mark.parametrize("name", NO_JSON)
@every_operation
def test_what_is_no_object_of_json_is_refused(admin: Api, operation: Operation, name: str) -> None:
    assert checked(send(admin, operation, NO_JSON[name]), 400)["code"] == "invalid_json"
    assert not Job.objects.exists()
    assert admin.get("/jobs").status_code == 200


@pytest.mark.parametrize("name", STRANGE)
@every_operation
def test_a_strange_object_breaks_nothing(admin: Api, operation: Operation, name: str) -> None:
    checked(send(admin, operation, STRANGE[name]))
    assert admin.get("/jobs").status_code == 200
    connection.check_constraints()


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "nonsense",
        "/",
        "a" * 1000,
    ],
)
@every_operation
def test_another_content_type_is_refused(admin: Api, operation: Operation, content_type: str) -> None:
    error = checked(send(admin, operation, b'{"key": "llama.cpp:a"}', content_type), 415)
    assert error["code"] == "unsupported_media_type"


@every_operation
def test_a_declared_charset_changes_nothing(admin: Api, operation: Operation) -> None:
    checked(send(admin, operation, b"{}", "application/json; charset=utf-16"))


@pytest.mark.parametrize("path", ["/me", "/jobs", "/routes", "/api-keys", "/audit"])
@pytest.mark.parametrize(
    "query",
    [
        "nothing=1",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=1e2",
        "limit=٣",
        "before=x",
        "before=",
        "since=yesterday",
        "since=2026-01-01",
        "since=0000-00-00T00:00:00Z",
        "actor=%00",
        "actor=" + "a" * 5000,
        "%00=1",
        "state=%00",
        "before=W10",
        "before=bnVsbA",
        "before=WyJhIiwgImIiXQ",
        "before=W1tdLFtdXQ",
        "before=" + "A" * 100_000,
        "kind=load&kind=x",
        "state=x",
        "__class__=1",
        "id__gt=0",
    ],
)
def test_strange_parameters_break_nothing(admin: Api, path: str, query: str) -> None:
    checked(admin.get(f"{path}?{query}"), 400)


@pytest.mark.parametrize("path", ["/jobs", "/api-keys", "/audit", "/routes/current/changes"])
@pytest.mark.parametrize("cursor", [b"[1, 2]", b"[1e300, 1e300]", b"[-1, null]", b'["", ""]', b"[true, {}]"])
def test_a_place_that_nobody_gave_out_breaks_nothing(admin: Api, path: str, cursor: bytes) -> None:
    checked(admin.get(f"{path}?before={base64.urlsafe_b64encode(cursor).decode()}"))


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/x",
        "/jobs/%00",
        "/jobs/00000000000000000000000000000000/cancel",
        "/routes/%00",
        "/routes/ä",
        "/routes/" + "a" * 5000,
        "/api-keys/%00",
        "/api-keys/' OR 1=1",
        "/routes/a/b/c",
        "/jobs/",
        "/me/",
        "//me",
        "/%2e%2e/admin",
        "/events/99999999999999999999999999",
    ],
)
def test_strange_paths_break_nothing(admin: Api, path: str) -> None:
    assert checked(admin.get(path))["code"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "a", "a" * 5000])
def test_an_answer_in_another_form_is_refused(admin: Api, accept: str) -> None:
    answer = admin.get("/me", Accept=accept)
    assert checked(answer, 406)["code"] == "not_acceptable"


def test_what_is_not_allowed_names_what_is(admin: Api) -> None:
    answer = admin._client.delete("/api/v1/jobs", headers=admin._headers)
    assert checked(answer, 405)["code"] == "method_not_allowed"
    assert "GET" in answer["Allow"]


@pytest.mark.parametrize("wait", ["x", "-1", "301", "nan", "inf", "1e9", ""])
@every_operation
def test_a_wait_that_is_none_makes_no_job(admin: Api, operation: Operation, wait: str) -> None:
    if operation.method == "post":
        path = f"{operation.path}?wait={wait}"
        answer = _CLIENT.post(path, b"{}", content_type="application/json", headers=admin._headers)
        checked(answer, 400)
        assert not Job.objects.exists()
