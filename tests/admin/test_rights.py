"""The matrix of rights in the console: each page and dialog by each permission, and the same decision in the API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from models_app.admin import pages
from models_app.domain import rights
from models_app.domain.rights import RIGHTS
from models_app.models import RegisteredModel
from tests.admin import addresses

Staff = Callable[..., Client]
NAMED = sorted({name for right in RIGHTS.values() for name in right.staff or ()})

# The operation of each dialog.
DIALOGS = {
    "load_model": "load_model",
    "make_current": "switch_model",
    "unload_model": "unload_model",
    "profile_model": "profile_model",
    "probe_model": "probe_capabilities",
    "keep_model": "update_model",
    "deprecate_model": "update_model",
    "discover_models": "discover_models",
    "switch_route": "switch_model",
    "roll_back_route": "roll_back_route",
    "test_provider": "test_provider",
    "discover_provider": "discover_models",
    "remove_provider": "delete_provider",
    "cancel_job": "cancel_job",
    "make_baseline": "mark_baseline",
    "revoke_key": "revoke_api_key",
}
# The operation of each page outside of the tables; None for those that every member of staff sees.
PAGES = {
    "live": None,
    "series": "get_metrics_series",
    "compare": "compare_profiles",
    "playground": "load_model",
    "playground-key": "load_model",
    "playground-record": "load_model",
}
# The API's list of each table.
LISTS = {
    "registeredmodel": "list_models",
    "instance": "list_loaded_models",
    "route": "list_routes",
    "provider": "list_providers",
    "profilerun": "list_profiles",
    "node": "list_nodes",
    "accesslog": "list_access_log",
    "job": "list_jobs",
    "event": "list_events",
    "auditentry": "list_audit",
    "apikey": "list_api_keys",
}


# Views of a table besides its dialogs: the operation of each; None is for superusers.
VIEWS: dict[str, dict[str, str | None]] = {
    table: {"changelist": listed, "change": listed, "history": listed, "add": None, "delete": None}
    for table, listed in LISTS.items()
}
VIEWS["registeredmodel"] |= {"copies": "list_model_instances", "log": "get_model"}
VIEWS["job"] |= {"progress": "get_job"}
VIEWS["apikey"] |= {"add": "create_api_key"}
VIEWS["provider"] |= {"add": "create_provider"}


def has(codename: str) -> Callable[[str], bool]:
    """Who can change rows can see them."""
    return {codename, codename.replace("change_", "view_")}.__contains__


def test_each_page_and_each_dialog_has_an_operation(furnished: RegisteredModel) -> None:
    tables = {model._meta.model_name for model, _, _ in addresses.of_tables() if model._meta.app_label == "models_app"}
    assert tables == set(LISTS)
    assert {pattern.name for pattern in pages.urlpatterns} == set(PAGES)
    names = {name for model, _, _ in addresses.of_tables() for name in addresses.actions(model)}
    assert names == set(DIALOGS)
    assert set(DIALOGS.values()) | {name for name in PAGES.values() if name} | set(LISTS.values()) <= set(RIGHTS)


@pytest.mark.parametrize("codename", [*NAMED, "view_user", "add_apikey", "delete_registeredmodel"])
def test_a_permission_means_the_same_in_the_console_and_in_the_api(
    staff: Staff, furnished: RegisteredModel, codename: str
) -> None:
    client = staff(codename)
    wrong = []
    for model, name, address in addresses.of_tables():
        if model._meta.app_label != "models_app":
            continue
        table = str(model._meta.model_name)
        action = name.removeprefix(f"models_app_{table}_")
        operation = {**DIALOGS, **VIEWS[table]}[action]
        expected = operation is not None and rights.staff_may(has(codename), operation)
        if (client.get(address).status_code != 403) != expected:
            wrong.append(address)
    for page, needed in PAGES.items():
        method = client.post if page == "playground-key" else client.get
        allowed = needed is None or rights.staff_may(has(codename), needed)
        if page != "live" and (method(reverse(f"console:{page}")).status_code != 403) != allowed:
            wrong.append(page)
    assert wrong == []


def test_a_switch_needs_the_permission_to_move_routes(staff: Staff, furnished: RegisteredModel) -> None:
    address = reverse("admin:models_app_registeredmodel_make_current", args=[furnished.pk])
    assert staff("change_registeredmodel").post(address, {"_form_submitted": "True"}).status_code == 403


def test_permissions_without_an_operation_open_nothing(staff: Staff, furnished: RegisteredModel) -> None:
    others = Permission.objects.filter(content_type__app_label="models_app").exclude(codename__in=NAMED)
    client = staff(*others.exclude(codename__startswith="change_").values_list("codename", flat=True))
    for model, name, address in addresses.of_tables():
        if name.endswith(("_changelist", "_change", "_add", "_delete")) or model._meta.app_label != "models_app":
            assert client.get(address).status_code in (403, 404), address
    for address in addresses.dialogs():
        assert client.get(address).status_code == 403, address
