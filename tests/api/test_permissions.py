"""Permissions: every URL of the URLconf with every kind of key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from rest_framework.viewsets import ViewSetMixin

from models_app.api.views.base import ManagementViewSet
from models_app.domain.scopes import Scope
from models_app.models import ApiKey, Job
from models_app.services.api_keys import keys
from models_app.tasks import queueing
from tests.api import walking
from tests.api.conftest import Api
from tests.api.walking import Operation

pytestmark = pytest.mark.wide

OPERATIONS = walking.operations()
CHANGING = [one for one in OPERATIONS if one.method != "get"]
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)

# Open without a key: the API's schema and docs, the console's login, and the redirect to it.
OPEN = {"/", "/api/schema", "/api/docs"}
_CLIENT = Client()

# The row "Auth header" of the table of bad input.
MALFORMED = {
    "empty": "",
    "only the scheme": "Bearer",
    "no key": "Bearer ",
    "spaces": "Bearer    ",
    "Basic": "Basic bm9hOm5vYQ==",
    "no scheme": "noa_000000000000_abc",
    "unknown key": "Bearer noa_000000000000_" + "a" * 43,
    "lower-case scheme": "bearer noa_000000000000_abc",
    "two keys": "Bearer noa_000000000000_abc,Bearer noa_000000000000_abc",
    "ten KiB": "Bearer " + "a" * 10_240,
    "unicode": "Bearer nöa_ключ",
    "NUL": "Bearer noa_\0",
    "SQL": "Bearer ' OR 1=1 --",
    "wrong prefix": "Bearer sk-000000000000",
    "line break": "Bearer noa\r\nX-Admin: 1",
    "JSON": 'Bearer {"admin": true}',
    "half of a key": "Bearer noa_",
    "wildcard": "Bearer *",
    "number": "Bearer 0",
    "a scheme of ours": "Noa noa_000000000000_abc",
}


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


def ask(operation: Operation, authorization: str | None = None, **more: Any) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    data = {} if operation.method == "get" else {"data": b"", "content_type": "application/json"}
    send = getattr(more.pop("client", _CLIENT), operation.method)
    return send(more.pop("path", operation.path), headers=headers, **data, **more)


def refused(answer: Any, status: int) -> bool:
    """Whether the answer is a JSON error with this status."""
    assert answer["Content-Type"] == "application/json"
    assert answer["X-Request-ID"]
    assert answer.json()["error"]["message"]
    return bool(answer.status_code == status)


def let_through(answer: Any) -> bool:
    assert answer.status_code < 500, answer.content
    return answer.status_code not in (401, 403)


def test_every_route_is_a_management_view_or_known_to_be_open() -> None:
    """A view with another base class has no scope, no audit row and no idempotency."""
    for path, callback in walking.addresses():
        if path not in OPEN and not path.startswith("/admin/"):
            view = getattr(callback, "cls", None)
            assert view is not None, path
            assert issubclass(view, ManagementViewSet), f"{path}: {view.__name__}"


def test_every_view_of_the_api_is_one_of_few_viewsets() -> None:
    views = {operation.callback.cls for operation in OPERATIONS}
    assert all(issubclass(view, ViewSetMixin) for view in views)
    assert len(views) <= 22


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_a_method_that_an_address_lacks_is_refused_with_those_that_it_has(admin: Api, path: str) -> None:
    methods = {operation.method.upper() for operation in OPERATIONS if operation.path == path}
    allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    headers = admin._headers
    described = _CLIENT.options(path, headers=headers)
    assert described.status_code == 200
    assert set(described["Allow"].split(", ")) == allowed
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
        answer = _CLIENT.generic(method, path, b"", "application/json", headers=headers)
        assert refused(answer, 405), method
        assert set(answer["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_description_of_the_api_is_open_and_changes_nothing(db: None, path: str) -> None:
    assert _CLIENT.get(path).status_code == 200
    for method in ("post", "put", "patch", "delete"):
        assert getattr(_CLIENT, method)(path).status_code in (403, 405)


@every_operation
def test_nobody_gets_in_without_a_key(db: None, operation: Operation) -> None:
    assert refused(ask(operation), 401)


@every_operation
def test_nobody_learns_of_an_operation_without_a_key(db: None, operation: Operation) -> None:
    assert _CLIENT.options(operation.path).status_code == 401
    assert _CLIENT.head(operation.path).status_code == 401


@every_operation
def test_a_malformed_header_is_refused(db: None, operation: Operation) -> None:
    for name, header in MALFORMED.items():
        assert refused(ask(operation, header), 401), name


@every_operation
def test_a_key_belongs_into_the_header(db: None, operation: Operation) -> None:
    _, text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test")
    for name in ("key", "api_key", "token", "access_token", "authorization"):
        assert refused(ask(operation, path=f"{operation.path}?{name}={text}"), 401), name
    client = Client()
    client.cookies["Authorization"] = f"Bearer {text}"
    client.cookies["api_key"] = text
    assert refused(ask(operation, client=client), 401)


def test_keys_audit_and_webhooks_are_for_administrators() -> None:
    for operation in OPERATIONS:
        if operation.path.split("/")[3] in ("api-keys", "audit", "webhooks"):
            assert operation.needed_scope == Scope.ADMIN, operation


@every_operation
def test_a_session_changes_nothing_without_its_csrf_token(db: None, operation: Operation) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("op"))
    answer = ask(operation, client=client)
    if operation.method == "get":
        assert let_through(answer)
        return
    assert refused(answer, 403)
    assert answer.json()["error"]["code"] == "csrf_failed"
    assert "X-CSRFToken" in answer.json()["error"]["message"]


def test_a_session_with_its_csrf_token_may_change_things(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("op"))
    client.cookies["csrftoken"] = "a" * 32
    answer = client.post(
        "/api/v1/models/discover",
        content_type="application/json",
        headers={"X-CSRFToken": "a" * 32},
    )
    assert answer.status_code == 202
    assert Job.objects.get().actor == "user:op"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_another_site_is_refused(db: None, content_type: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("op"))
    answer = client.post("/api/v1/models/discover", b"a=b", content_type=content_type)
    assert refused(answer, 403)


def test_a_key_needs_no_csrf_token(api: Callable[..., Api]) -> None:
    client = Client(enforce_csrf_checks=True)
    headers = api(Scope.OPERATE)._headers
    answer = client.post("/api/v1/models/discover", content_type="application/json", headers=headers)
    assert answer.status_code == 202


def test_a_key_is_never_stored(db: None) -> None:
    key, text = keys.create(name="k", scopes=[Scope.INFER], actor="test")
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    secret = text.rpartition("_")[2]
    assert not any(secret in str(value) for value in row.values())
