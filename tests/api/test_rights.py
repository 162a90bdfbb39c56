"""The matrix of rights: each operation of the URLconf by each kind of caller, against the table in `domain.rights`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from models_app.domain import rights
from models_app.domain.rights import RIGHTS, Binding, Right
from models_app.domain.scopes import Scope
from models_app.models import ApiKey, IdempotencyKey
from models_app.services.api_keys import keys
from models_app.services.api_keys import staff as staff_rights
from models_app.tasks import queueing
from tests import markdown
from tests.api import walking
from tests.api.walking import Operation

pytestmark = pytest.mark.wide

OPERATIONS = walking.operations()
NAMED = sorted({name for right in RIGHTS.values() for name in right.staff or ()})
ELSEWHERE = {"addresses": ["203.0.113.0/24"]}
_CLIENT = Client()


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


def ask(operation: Operation, client: Client = _CLIENT, key: str | None = None) -> tuple[int, str]:
    """The status and the error code of the operation with an empty body."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = {} if operation.method == "get" else {"data": b"", "content_type": "application/json"}
    answer = getattr(client, operation.method)(operation.path, headers=headers, **data)
    assert answer.status_code < 500, (operation, answer.content)
    is_error = answer.status_code >= 400
    return answer.status_code, answer.json()["error"]["code"] if is_error else ""


def may(answer: tuple[int, str]) -> bool:
    return answer[1] not in ("permission_denied", "model_not_allowed", "exceeds_own_rights") and answer[0] != 401


def signed_in(*codenames: str, **fields: Any) -> Client:
    user = get_user_model().objects.create_user(f"u{User.objects.count()}", **({"is_staff": True} | fields))
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    assert user.user_permissions.count() == len(codenames)
    client = Client()
    client.force_login(user)
    return client


def key(**more: Any) -> str:
    return keys.create(**({"name": "k", "scopes": [Scope.ADMIN], "actor": "test"} | more))[1]


def test_each_operation_has_one_row_in_the_table() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert set(names) == set(RIGHTS)


def test_a_read_is_a_get() -> None:
    for operation in OPERATIONS:
        if operation.method != "get":
            assert operation.right.binding is not Binding.READS, operation


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_with_one_scope(db: None, scope: Scope) -> None:
    text = key(scopes=[scope])
    for operation in OPERATIONS:
        assert may(ask(operation, key=text)) == rights.key_may(frozenset({scope}), operation.name), operation


@pytest.mark.parametrize("scopes", [[Scope.ADMIN], list(Scope)], ids=["admin", "all"])
def test_a_key_that_is_bound_to_other_addresses_reaches_nothing(db: None, scopes: list[Scope]) -> None:
    text = key(scopes=scopes, limits=ELSEWHERE)
    for operation in OPERATIONS:
        assert ask(operation, key=text) == (403, "address_not_allowed"), operation


def test_the_addresses_of_all_keys_hold_too(db: None, settings: Any) -> None:
    settings.NOA_KEY_LIMITS = ELSEWHERE
    text, own = key(), key(limits={"addresses": ["127.0.0.0/8"]})
    for operation in OPERATIONS:
        assert ask(operation, key=text) == (403, "address_not_allowed"), operation
        assert ask(operation, key=own)[1] != "address_not_allowed", operation


def test_the_address_is_checked_before_the_scope(db: None) -> None:
    text = key(scopes=[Scope.METRICS], limits=ELSEWHERE)
    for operation in OPERATIONS:
        assert ask(operation, key=text) == (403, "address_not_allowed"), operation


@pytest.mark.parametrize("how", ["revoked", "expired", "unknown", "anonymous"])
def test_an_unusable_key_reaches_nothing(db: None, how: str) -> None:
    row, text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test")
    if how == "revoked":
        keys.revoke(key=row)
    elif how == "expired":
        ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    sent = {"unknown": "noa_0123456789ab_wrong", "anonymous": None}.get(how, text)
    for operation in OPERATIONS:
        assert ask(operation, key=sent)[0] == 401, operation


def test_a_bound_key_reaches_what_the_table_says(db: None) -> None:
    """With the path of a model and a route that it is not bound to, and an empty body."""
    text = key(allowed_models=["openai:*"])
    for operation in OPERATIONS:
        is_refused = ask(operation, key=text) == (403, "model_not_allowed")
        if operation.right.binding in (Binding.PATH, Binding.EVERYTHING):
            assert is_refused, operation
        elif operation.right.binding is Binding.READS:
            assert not is_refused, operation


def test_staff_without_a_permission_reach_nothing(db: None) -> None:
    client = signed_in()
    for operation in OPERATIONS:
        assert ask(operation, client) == (403, "permission_denied"), operation


def test_a_permission_that_no_row_names_reaches_only_the_caller(db: None) -> None:
    others = Permission.objects.exclude(codename__in=NAMED).exclude(
        # Who can change rows can see them.
        codename__in=[name.replace("view_", "change_") for name in NAMED]
    )
    client = signed_in(*others.values_list("codename", flat=True))
    for operation in OPERATIONS:
        assert may(ask(operation, client)) == (operation.right.staff == rights.ANY), operation


@pytest.mark.parametrize("codename", NAMED)
def test_staff_with_one_permission(db: None, codename: str) -> None:
    client = signed_in(codename)
    has = {codename, codename.replace("change_", "view_")}
    for operation in OPERATIONS:
        assert may(ask(operation, client)) == rights.staff_may(has.__contains__, operation.name), operation


def test_the_permissions_of_a_row_are_enough(db: None) -> None:
    for codenames in sorted({right.staff for right in RIGHTS.values() if right.staff}):
        client = signed_in(*codenames)
        for operation in OPERATIONS:
            if operation.right.staff == codenames:
                assert may(ask(operation, client)), operation


def test_a_superuser_reaches_everything(db: None) -> None:
    client = signed_in(is_superuser=True)
    for operation in OPERATIONS:
        assert may(ask(operation, client)), operation


@pytest.mark.parametrize("fields", [{"is_staff": False}, {"is_staff": False, "is_superuser": True}])
def test_users_who_are_no_staff_reach_nothing(db: None, fields: dict[str, Any]) -> None:
    client = signed_in(**fields)
    for operation in OPERATIONS:
        assert ask(operation, client) == (403, "permission_denied"), operation


def test_a_user_who_is_deactivated_reaches_nothing(db: None) -> None:
    client = signed_in(is_superuser=True)
    User.objects.update(is_active=False)
    for operation in OPERATIONS:
        assert ask(operation, client)[0] == 401, operation


@pytest.mark.parametrize("caller", ["read", "infer", "admin", "bound", "staff", "superuser"])
def test_a_method_that_an_address_lacks_is_answered_alike(db: None, caller: str) -> None:
    """405 for each caller that is authenticated, 401 for the others: the rights have no influence."""
    client, headers = _CLIENT, {}
    if caller in ("staff", "superuser"):
        client = signed_in(is_superuser=caller == "superuser")
    else:
        scopes = [Scope.ADMIN if caller == "bound" else caller]
        text = key(scopes=scopes, allowed_models=["openai:*"] if caller == "bound" else [])
        headers = {"Authorization": f"Bearer {text}"}
    for path in sorted({operation.path for operation in OPERATIONS}):
        has = {operation.method for operation in OPERATIONS if operation.path == path}
        for method in set(walking.METHODS) - has:
            answer = client.generic(method.upper(), path, b"", "application/json", headers=headers)
            assert answer.status_code == 405, (path, method)
            assert _CLIENT.generic(method.upper(), path).status_code == 401


def test_the_scopes_of_staff_are_what_their_permissions_include(db: None) -> None:
    operators = {name for right in RIGHTS.values() if right.scope is not Scope.ADMIN for name in right.staff or ()}
    for codenames, scopes in ((operators, ["operate", "read"]), (operators - {"change_route"}, ["read"])):
        assert signed_in(*codenames).get("/api/v1/me").json()["scopes"] == scopes
    assert signed_in("view_event").get("/api/v1/me").json()["scopes"] == []


def test_the_names_of_permissions_exist(db: None) -> None:
    assert Permission.objects.filter(codename__in=NAMED).count() == len(NAMED)
    assert staff_rights.scopes(user=None) == frozenset()
    assert not IdempotencyKey.objects.exists()


def documented() -> dict[str, list[str]]:
    table = markdown.page("docs/rights.md").section("Operations")
    return {row[0].strip("`"): row[1:] for row in markdown.rows(table) if row[0].startswith("`")}


def test_the_documented_table_is_the_table() -> None:
    def row(right: Right) -> list[str]:
        staff = "superuser" if right.staff is rights.SUPERUSER else ", ".join(f"`{name}`" for name in right.staff)
        return [f"`{right.scope}`" if right.scope else "any", staff or "any permission", right.binding.value]

    assert documented() == {name: row(right) for name, right in RIGHTS.items()}


def test_the_scopes_in_the_table_of_the_api_are_those_of_the_rights() -> None:
    table = markdown.page("docs/api.md").text.partition("\n## ")[0]
    stated = {row[0].strip("`"): row[1].strip("`") for row in markdown.rows(table) if row[0].startswith("`")}
    for operation in OPERATIONS:
        path = operation.pattern.removeprefix("/api/v1/")
        assert stated[f"{operation.method.upper()} {path}"] == str(operation.needed_scope or "any"), operation
