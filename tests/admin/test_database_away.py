"""A database that is away, or whose connections are all in use, is 503 with a time to retry: never 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from tests.admin.conftest import browser
from tests.api.walking import addresses

PATHS = sorted({path for path, _ in addresses() if not path.startswith("/admin/<")})
WITHOUT_DATABASE = {200, 301, 302, 304, 403, 404, 405}


@contextmanager
def away(error: type[Exception]) -> Iterator[None]:
    refused = error("couldn't get a connection after 5.00 sec")
    with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", side_effect=refused):
        yield


@pytest.fixture
def signed_in(console: Client) -> Client:
    console.raise_request_exception = False
    return console


def is_plain_answer(answer: Any) -> bool:
    """Whether it is a 503 in the form of its address, or a response that needed no database."""
    if answer.status_code != 503:
        return answer.status_code in WITHOUT_DATABASE | {401}
    if answer["Content-Type"] == "application/json":
        return (answer.json()["error"]["code"], answer["Retry-After"]) == ("database_unavailable", "5")
    return "Not available" in answer.content.decode() and answer["Retry-After"] == "5"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_every_address_says_so(signed_in: Client, error: type[Exception]) -> None:
    with away(error):
        answers = {path: signed_in.get(path, headers={"Accept": "text/html,*/*"}) for path in PATHS}
    wrong = {path: answer.status_code for path, answer in answers.items() if not is_plain_answer(answer)}
    assert wrong == {}
    assert {answer.status_code for path, answer in answers.items() if path.startswith("/admin/models_app")} == {503}


def test_the_log_in_page_says_so_too(db: None) -> None:
    client = browser()
    client.raise_request_exception = False
    with away(OperationalError):
        body = {"username": "admin", "password": "x"}
        answer = client.post("/admin/login/", body, headers={"Accept": "text/html"})
        api = client.get("/api/v1/models", headers={"Authorization": "Bearer noa_a_b"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "Reload this page in 5 seconds" in answer.content.decode()
    assert (api.status_code, api["Retry-After"]) == (503, "5")
