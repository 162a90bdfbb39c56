"""Users in the console: members of staff cannot give themselves, or take over, rights that they do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

Staff = Callable[..., Client]
PASSWORD = "correct horse battery staple"


def user(name: str, *codenames: str, group: str = "", **fields: Any) -> User:
    made = User.objects.create_user(name, password="the old password", **fields)
    permissions = Permission.objects.filter(codename__in=codenames)
    if group:
        made.groups.add(Group.objects.create(name=group))
        made.groups.get().permissions.set(permissions)
    else:
        made.user_permissions.set(permissions)
    return made


def powerful(name: str) -> User:
    """Users with something that a member of staff with the rights to users lacks."""
    return {
        "superuser": lambda: user(name, is_superuser=True, is_staff=True),
        "inactive superuser": lambda: user(name, is_superuser=True, is_active=False),
        "operator": lambda: user(name, "change_registeredmodel", is_staff=True),
        "operator by group": lambda: user(name, "change_registeredmodel", group="operators", is_staff=True),
        "inactive operator": lambda: user(name, "change_registeredmodel", is_staff=True, is_active=False),
    }[name]()


POWERFUL = ("superuser", "inactive superuser", "operator", "operator by group", "inactive operator")


@pytest.fixture
def manager(staff: Staff) -> Client:
    """A member of staff with all permissions to users and groups."""
    return staff(*(f"{word}_{table}" for word in ("view", "add", "change", "delete") for table in ("user", "group")))


def change(client: Client, target: User, **fields: Any) -> Any:
    sent = {
        "username": target.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "is_active": "on",
        **fields,
    }
    return client.post(reverse("admin:auth_user_change", args=[target.pk]), sent)


def rights_of(target: User) -> tuple[Any, ...]:
    target = User.objects.get(pk=target.pk)
    return target.is_superuser, target.is_staff, target.groups.count(), target.user_permissions.count()


@pytest.mark.parametrize("target", ["self", "weaker"])
def test_rights_are_given_by_superusers_only(manager: Client, target: str) -> None:
    mine = User.objects.get(username="staff")
    one = mine if target == "self" else user("weak")
    group = Group.objects.create(name="admins")
    before = rights_of(one)
    sent = {
        "is_superuser": "on",
        "is_staff": "on",
        "groups": [group.pk],
        "user_permissions": list(Permission.objects.values_list("pk", flat=True)),
        "first_name": "Changed",
    }
    assert change(manager, one, **sent).status_code == 302
    assert User.objects.get(pk=one.pk).first_name == "Changed"
    assert rights_of(one) == before


@pytest.mark.parametrize("kind", POWERFUL)
def test_who_has_more_rights_is_not_changed(manager: Client, kind: str) -> None:
    target = powerful(kind)
    before = User.objects.filter(pk=target.pk).values().get()
    assert change(manager, target, email="mine@example.org", is_active="on").status_code == 403
    password = reverse("admin:auth_user_password_change", args=[target.pk])
    sent = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert manager.get(password).status_code == 403
    assert manager.post(password, sent).status_code == 403
    assert manager.post(reverse("admin:auth_user_delete", args=[target.pk]), {"post": "yes"}).status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [target.pk], "post": "yes"}
    manager.post(reverse("admin:auth_user_changelist"), bulk)
    assert User.objects.filter(pk=target.pk).values().get() == before


def test_one_in_a_selection_who_has_more_rights_keeps_all(manager: Client) -> None:
    weak, root = user("weak"), powerful("superuser")
    bulk = {"action": "delete_selected", "_selected_action": [weak.pk, root.pk], "post": "yes"}
    manager.post(reverse("admin:auth_user_changelist"), bulk)
    assert User.objects.filter(pk__in=[weak.pk, root.pk]).count() == 2


def test_who_has_fewer_rights_is_managed(manager: Client) -> None:
    weak = user("weak", "view_user", is_staff=True)
    password = reverse("admin:auth_user_password_change", args=[weak.pk])
    sent = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert manager.post(password, sent).status_code == 302
    assert User.objects.get(pk=weak.pk).check_password(PASSWORD)
    assert change(manager, weak, is_active="").status_code == 302
    assert manager.post(reverse("admin:auth_user_delete", args=[weak.pk]), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=weak.pk).exists()


def test_a_new_user_has_no_rights(manager: Client) -> None:
    sent = {"username": "new", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    answer = manager.post(reverse("admin:auth_user_add"), sent | {"is_superuser": "on", "is_staff": "on"})
    assert answer.status_code == 302
    assert rights_of(User.objects.get(username="new")) == (False, False, 0, 0)


@pytest.mark.parametrize("page", ["add", "change", "delete"])
def test_groups_are_changed_by_superusers_only(manager: Client, console: Client, page: str) -> None:
    group = Group.objects.create(name="operators")
    args = [] if page == "add" else [group.pk]
    address = reverse(f"admin:auth_group_{page}", args=args)
    sent = {"name": "new", "permissions": [Permission.objects.order_by("pk")[0].pk], "post": "yes"}
    assert manager.post(address, sent).status_code == 403
    assert not group.permissions.exists()
    assert console.post(address, sent).status_code == 302


def test_a_superuser_gives_rights(console: Client) -> None:
    weak = user("weak")
    assert change(console, weak, is_staff="on", is_superuser="on").status_code == 302
    assert rights_of(weak)[:2] == (True, True)
