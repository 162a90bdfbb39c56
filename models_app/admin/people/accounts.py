"""Users and groups of the console.

Only superusers give permissions and groups. Other members of staff change users all of whose permissions they have
themselves: who sets a user's password can sign in as that user.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister(User)
admin.site.unregister(Group)

# What a user may do; `is_active` is not in it, since it only ends what was given.
_RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *_RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_manage(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_manage(request, obj)


def _may_manage(request: HttpRequest, user: User | None) -> bool:
    """Whether the signed-in user has all rights of `user`; None is the list of users."""
    signed_in: Any = request.user
    if user is None or signed_in.is_superuser:
        return True
    return not user.is_superuser and _given_to(user) <= _given_to(signed_in)


def _given_to(user: User) -> set[int]:
    """The ids of the permissions of a user. Those of an inactive user count: the user can be made active again."""
    found = Permission.objects.filter(Q(user=user) | Q(group__user=user))
    return set(found.order_by().values_list("pk", flat=True))


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """A group gives permissions to all its users: superusers change it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        user = request.user
        return bool(user.has_perm("auth.view_group") or user.has_perm("auth.change_group"))
