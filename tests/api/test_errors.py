"""All errors have the same JSON shape."""

from __future__ import annotations

from unittest import mock

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from models_app.services.jobs import jobs
from tests.api.conftest import Api


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/v1/nothing", 404, "not_found"),
        ("get", "/api/nothing", 404, "not_found"),
        ("delete", "/api/v1/models", 405, "method_not_allowed"),
        ("get", "/api/v1/models/load", 405, "method_not_allowed"),
        ("post", "/api/v1/models/loaded", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_said_in_json(admin: Api, method: str, path: str, status: int, code: str) -> None:
    answer = getattr(admin._client, method)(path, headers=admin._headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) >= {
        "message",
        "type",
        "code",
        "param",
        "retryable",
        "request_id",
    }


def test_another_content_type_is_refused(admin: Api) -> None:
    answer = admin._client.post("/api/v1/models/load", "key=a", content_type="text/plain", headers=admin._headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_an_error_that_nobody_expected_shows_no_stack(admin: Api) -> None:
    with mock.patch.object(jobs, "get", side_effect=RuntimeError("secret detail")):
        answer = admin.get("/jobs/00000000-0000-0000-0000-000000000000")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret detail" not in answer.content.decode()


@pytest.mark.parametrize("error", [OperationalError("database is locked"), InterfaceError("closed")])
def test_a_database_that_does_not_answer_is_no_fault_of_the_request(admin: Api, error: Exception) -> None:
    with mock.patch.object(jobs, "get", side_effect=error):
        answer = admin.get("/jobs/00000000-0000-0000-0000-000000000000")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert answer.json()["error"]["retryable"]
    assert answer["Retry-After"] == "5"


@pytest.mark.parametrize(("given", "kept"), [("abc-1", True), ("a" * 65, False), ("a b", False), ("a\u00e9", False)])
def test_a_request_id_is_kept_when_it_is_well_formed(admin: Api, given: str, kept: bool) -> None:
    answer = admin.get("/models", **{"X-Request-ID": given})
    assert (answer["X-Request-ID"] == given) is kept


def test_pages_for_people_stay_pages(db: None) -> None:
    answer = Client().get("/admin/nothing/")
    assert answer.status_code in (302, 404)
