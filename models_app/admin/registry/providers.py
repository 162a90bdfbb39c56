"""Providers: add, change, test and remove them. Their keys are write-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from models_app.admin.parts import actions, badges, units
from models_app.admin.parts.base import ConsoleAdmin
from models_app.admin.registry.provider_forms import NewProviderForm, ProviderDialog, ProviderForm
from models_app.domain.residency.contact import Contact
from models_app.models import Provider
from models_app.services.api_keys import staff
from models_app.services.lifecycle import commands
from models_app.services.providers import contacts, providers
from models_app.services.registry import provider_settings, provider_trial

_STATES = {
    "local": ("files of this machine", None),
    "disabled": ("disabled", "warn"),
    "paused": ("paused", "bad"),
    Contact.NOT_TRIED: ("not tried", None),
    Contact.ANSWERED: ("answered", "good"),
    Contact.KEY_REFUSED: ("key refused", "bad"),
    Contact.NOT_REACHABLE: ("not reachable", "bad"),
    Contact.WRONG_ANSWER: ("wrong answer", "bad"),
}
_EDITABLE = (
    "name",
    "base_url",
    "allow_private_addresses",
    "enabled",
    ("api_key", "secret_env"),
    "forget_key",
    ("connect", "first_byte", "idle", "total"),
)


@admin.register(Provider)
class ProviderAdmin(ConsoleAdmin):
    list_display = ("slug", "kind", "address", "state", "key", "discovered", "model_count")
    search_fields = ("slug", "name", "base_url")
    search_help_text = "Slug, name or address"
    ordering = ("slug",)
    form = ProviderForm
    readonly_fields = ("slug", "kind", "origin", "address", "state", "reason", "key", "discovered")
    add_fieldsets = ((None, {"fields": ("slug", "kind", *_EDITABLE)}),)
    fieldsets = (
        (
            "State",
            {"fields": (("slug", "kind", "origin"), "address", ("state", "key"), "reason", "discovered")},
        ),
        ("Settings", {"fields": _EDITABLE}),
    )
    actions_row = ("test_provider", "discover_provider")
    actions_detail = ("test_provider", "discover_provider", "remove_provider")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.annotate(counted=Count("models"))

    # Only superusers: an address decides where requests and keys are sent.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Provider | None = None) -> bool:
        ours = obj is None or (providers.is_remote(obj) and obj.origin != provider_settings.FROM_ENVIRONMENT)
        return bool(request.user.is_superuser) and ours

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="test_provider")

    def has_discover_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="discover_models")

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        return self.fieldsets if self.has_change_permission(request, obj) else self.fieldsets[:1]

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_form(self, request: HttpRequest, obj: Provider | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = ProviderForm if change else NewProviderForm
        # The service writes the columns.
        kwargs["fields"] = kwargs["form"].Meta.fields if self._is_edited(request, obj) else ()
        return super().get_form(request, obj, change, **kwargs)

    def _is_edited(self, request: HttpRequest, obj: Provider | None) -> bool:
        return obj is None or self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        actor = actions.actor(request)
        if change:
            fields = form.settings()
            made = provider_settings.change(slug=obj.slug, fields=fields, actor=actor)
        else:
            made = provider_settings.add(
                slug=form.cleaned_data["slug"],
                settings=form.new_settings(),
                actor=actor,
                origin="console",
            )
        obj.pk, obj.slug = made.pk, made.slug
        actions.record_audit(
            request,
            "update_provider" if change else "create_provider",
            subject=made.slug,
            status=200 if change else 201,
        )

    @action(
        description="Test…",
        url_path="test",
        icon="network_check",
        permissions=["operate"],
        dialog={
            "title": "Test this provider",
            "description": "Requests its list of models with the stored key.",
            "form_class": ProviderDialog,
            "form_submit_text": "Test",
        },
    )
    def test_provider(self, request: HttpRequest, form: ProviderDialog, object_id: str) -> HttpResponse:
        answer = provider_trial.try_out(slug=form.provider.slug)
        actions.record_audit(request, "test_provider", subject=form.provider.slug, status=200)
        add_message = messages.success if answer["ok"] else messages.error
        add_message(request, f"{answer['message']} ({units.seconds(answer['seconds'])})")
        return actions.go_to(request, badges.page_of(form.provider))

    @action(
        description="Discover models…",
        url_path="discover",
        icon="travel_explore",
        permissions=["discover"],
        dialog={
            "title": "Discover models of this provider",
            "description": "Registers new models, and marks those that it no longer lists.",
            "form_class": ProviderDialog,
            "form_submit_text": "Discover",
        },
    )
    def discover_provider(self, request: HttpRequest, form: ProviderDialog, object_id: str) -> HttpResponse:
        slug = form.provider.slug
        return actions.start_job(
            request,
            lambda: commands.request_discover(provider=slug, actor=actions.actor(request)),
            action="discover_models",
            subject=slug,
            otherwise=badges.page_of(form.provider),
        )

    @action(
        description="Remove…",
        url_path="remove",
        icon="delete",
        variant=ActionVariant.DANGER,
        permissions=["operate"],
        dialog={
            "title": "Remove this provider",
            "description": "Its key is deleted. A provider with models cannot be removed.",
            "form_class": ProviderDialog,
            "form_submit_text": "Remove",
        },
    )
    def remove_provider(self, request: HttpRequest, form: ProviderDialog, object_id: str) -> HttpResponse:
        slug = form.provider.slug
        removed = actions.run(
            request,
            lambda: provider_settings.remove(slug=slug, actor=actions.actor(request)),
            action="delete_provider",
            subject=slug,
            message=f"The provider '{slug}' was removed.",
        )
        if not removed:
            return actions.go_to(request, badges.page_of(form.provider))
        return actions.go_to(request, reverse("admin:models_app_provider_changelist"))

    @display(description="Address", ordering="base_url")
    def address(self, provider: Provider) -> str:
        return providers.base_url(provider) or "files of this machine"

    @display(description="State")
    def state(self, provider: Provider) -> SafeString | str:
        found = contacts.state_of(provider)
        word, tone = _STATES[found.name]
        badge = badges.badge(word, tone)
        if found.until is not None:
            return format_html("{} until {}", badge, badges.moment(found.until))
        return badge if found.at is None else format_html("{} {}", badge, badges.ago(found.at))

    @display(description="Why")
    def reason(self, provider: Provider) -> str:
        return contacts.state_of(provider).reason or units.NOTHING

    @display(description="Key")
    def key(self, provider: Provider) -> str:
        if provider.secret_env:
            return f"in {provider.secret_env}"
        return "stored" if provider.secret else units.NOTHING

    @display(description="Last discovery", ordering="discovered_at")
    def discovered(self, provider: Provider) -> SafeString | str:
        when = badges.moment(provider.discovered_at) if provider.discovered_at else "never"
        if not provider.discovery_error:
            return when
        return format_html("{}; then failed: {}", when, provider.discovery_error)

    @display(description="Models", ordering="counted")
    def model_count(self, provider: Provider) -> int:
        counted: int = provider.counted  # type: ignore[attr-defined]
        return counted
