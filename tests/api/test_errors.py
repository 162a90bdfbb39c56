"""All errors have the same JSON shape."""

from __future__ import annotations

from unittest import mock

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client, RequestFactory

from models_app.api import errors
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


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/embeddings/", "/v1/embeddings"),
        ("/responses", "/v1/responses"),
        ("/messages", "/v1/messages"),
        ("//v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/models", "/v1/models"),
        ("//v1/models/current", "/v1/models/current"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_client_with_a_wrong_base_url_learns_the_right_one(path: str, meant: str, method: str) -> None:
    answer = getattr(Client(), method)(path)
    assert answer.status_code == 404
    assert f"Did you mean {meant}?" in answer.json()["error"]["message"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/nothing", "/chats", "/api/models", "/v2/models", "/models/a/b"])
def test_other_wrong_paths_have_no_such_hint(path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code in (302, 404)
    assert b"Did you mean" not in answer.content


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


PATHS = [
    "/nothing",
    "/favicon.ico",
    "/api/x",
    "/static/nothing.css",
    "/robots.txt",
    "/.env",
    "/admin.php",
    "/V1/models",
]


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/json"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
@pytest.mark.parametrize("path", PATHS)
def test_outside_of_the_console_every_error_is_json(db: None, path: str, method: str, accept: str) -> None:
    answer = getattr(Client(), method)(path, headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("view", ["bad_request", "permission_denied", "not_found", "server_error"])
@pytest.mark.parametrize(
    ("path", "accept", "is_page"),
    [
        ("/admin/x/", "text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("/admin/x/", "*/*", False),
        ("/x", "text/html", False),
        ("/api/v1/models", "text/html", False),
        ("/administration", "text/html", False),
    ],
)
def test_only_a_browser_in_the_console_gets_a_page(
    rf: RequestFactory, view: str, path: str, accept: str, is_page: bool
) -> None:
    arguments = () if view == "server_error" else (Exception("x"),)
    answer = getattr(errors, view)(rf.get(path, headers={"Accept": accept}), *arguments)
    assert answer.status_code in (400, 403, 404, 500)
    assert answer["Content-Type"].startswith("text/html") == is_page


def test_a_page_that_is_missing_in_the_console_is_a_page(db: None) -> None:
    answer = Client().get("/admin/nothing/", headers={"Accept": "text/html"})
    assert answer.status_code in (302, 404)
