"""API keys: create them, show each once, revoke them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from models_app.admin.parts import actions, badges
from models_app.admin.parts.base import ConsoleAdmin
from models_app.admin.parts.dialogs import RevokeDialog
from models_app.admin.people.key_limits import LIMIT_FIELDS, LimitsForm
from models_app.domain.scopes import Scope, allows
from models_app.domain.traffic.granting import Bounds
from models_app.models import ApiKey
from models_app.services.api_keys import keys, staff

_SCOPES = {
    Scope.INFER: "infer: query models through /v1",
    Scope.READ: "read: read the management API",
    Scope.OPERATE: "operate: load, unload and switch models",
    Scope.METRICS: "metrics:read: the page for Prometheus at /metrics",
    Scope.ADMIN: "admin: everything",
}


class NewKeyForm(LimitsForm, forms.ModelForm):
    # The most that the signed-in user can give; set for each request.
    giver = Bounds(frozenset())

    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, words) for scope, words in _SCOPES.items()],
        initial=[Scope.INFER.value],
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
        help_text="What the key permits: a part of your own rights.",
    )
    expires_at = forms.SplitDateTimeField(
        required=False,
        label="Expires",
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Empty: it is valid until it is revoked.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "expires_at")
        widgets = {"name": UnfoldAdminTextInputWidget()}
        help_texts = {"name": "Which application or person uses it."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = [(scope.value, words) for scope, words in _SCOPES.items() if allows(self.giver.scopes, scope)]
        self.fields["scopes"].choices = given  # type: ignore[attr-defined]

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at and expires_at <= timezone.now():
            raise forms.ValidationError("This time has passed: the key would never be valid.")
        return expires_at


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    empty_hint = (
        "No API key exists yet. Applications need one to query models: create it with the plus above. It is shown once."
    )
    list_display = ("name", "key_id", "state", "scope_badges", "expires", "created", "created_by")
    search_fields = ("name", "key_id", "created_by")
    search_help_text = "Name, key id or creator"
    ordering = ("-created_at",)
    form = NewKeyForm
    add_fieldsets = (
        (None, {"fields": ("name", "scopes", "expires_at")}),
        ("Limits", {"fields": LIMIT_FIELDS}),
    )
    fieldsets = (
        (None, {"fields": (("name", "state"), ("key_id", "scope_badges"), "own_limits")}),
        ("Times", {"fields": (("created", "expires", "revoked"), "created_by")}),
    )
    readonly_fields = ("state", "scope_badges", "own_limits", "created", "expires", "revoked")
    actions_row = ("revoke_key",)
    actions_detail = ("revoke_key",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return staff.may(user=request.user, operation="create_api_key")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="revoke_api_key")

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        giver = staff.bounds(user=request.user)
        kwargs["form"] = type("NewKeyForm", (NewKeyForm,), {"giver": giver, "__module__": __name__})
        return super().get_form(request, obj, change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        made, text = keys.create(
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.cleaned_data["expires_at"],
            limits=form.cleaned_data["limits"],
            actor=actions.actor(request),
            giver=form.giver,
        )
        obj.pk, obj.key_id = made.pk, made.key_id
        arguments = {"name": made.name, "scopes": made.scopes, "limits": made.limits}
        actions.record_audit(request, "create_api_key", subject=made.key_id, status=201, arguments=arguments)
        form.text = text

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        # Passed to the response only; neither the session nor a message stores it.
        request.new_api_key = form.text  # type: ignore[attr-defined]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # The page after the form shows the key: "and continue" would skip it.
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "The key was created",
            "key": obj,
            "text": request.new_api_key,  # type: ignore[attr-defined]
        }
        response = TemplateResponse(request, "admin/noa/key_created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @action(
        description="Revoke…",
        url_path="revoke",
        icon="block",
        variant=ActionVariant.DANGER,
        permissions=["revoke"],
        dialog={
            "title": "Revoke this key",
            "description": "Requests with it are refused from now on. This cannot be undone.",
            "form_class": RevokeDialog,
            "form_submit_text": "Revoke",
        },
    )
    def revoke_key(self, request: HttpRequest, form: RevokeDialog, object_id: str) -> HttpResponse:
        keys.revoke(key=form.key, actor=actions.actor(request))
        actions.record_audit(request, "revoke_api_key", subject=form.key.key_id, status=204)
        messages.success(request, f"The key '{form.key.name}' was revoked.")
        return actions.go_to(request, badges.page_of(form.key))

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        rows: QuerySet[ApiKey] = super().get_queryset(request)
        return rows.defer("digest")

    @display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return badges.badge("revoked", "bad")
        if key.expires_at and key.expires_at <= timezone.now():
            return badges.badge("expired", "warn")
        return badges.badge("active", "good")

    @display(description="Scopes")
    def scope_badges(self, key: ApiKey) -> SafeString | str:
        return badges.badges(key.scopes)

    @display(description="Limits")
    def own_limits(self, key: ApiKey) -> str:
        words = [f"{name.replace('_', ' ')}: {value}" for name, value in sorted(key.limits.items())]
        return ", ".join(words) or "the default of all keys"

    @display(description="Expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> SafeString | str:
        return badges.moment(key.expires_at) if key.expires_at else "never"

    @display(description="Created", ordering="created_at")
    def created(self, key: ApiKey) -> SafeString | str:
        return badges.moment(key.created_at)

    @display(description="Revoked")
    def revoked(self, key: ApiKey) -> SafeString | str:
        return badges.moment(key.revoked_at)
