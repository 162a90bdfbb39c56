"""Registered models."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from models_app.admin.parts import actions, badges, units
from models_app.admin.parts.base import ConsoleAdmin, ReadOnlyInline
from models_app.admin.parts.filters import CapabilityFilter, QuantizationFilter
from models_app.admin.registry import model_page
from models_app.admin.registry.model_dialogs import ModelDialogs
from models_app.models import ModelVersion, RegisteredModel
from models_app.services.lifecycle import commands
from models_app.services.registry import registration


class DescriptionForm(forms.ModelForm):
    """The editable texts of a model; the other fields are measured or set by operations."""

    class Meta:
        model = RegisteredModel
        fields = ("name", "description")
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 3})}


class VersionInline(ReadOnlyInline):
    model = ModelVersion
    verbose_name_plural = "versions of the file"
    fields = ("seen", "digest", "size", "quantization", "architecture", "path")
    readonly_fields = fields

    @display(description="First seen")
    def seen(self, version: ModelVersion) -> SafeString | str:
        return badges.moment(version.created_at)

    @display(description="SHA-256")
    def digest(self, version: ModelVersion) -> str:
        return version.sha256[:12]

    @display(description="Size")
    def size(self, version: ModelVersion) -> str:
        return units.size(version.size_bytes)


@admin.register(RegisteredModel)
class RegisteredModelAdmin(ModelDialogs, ConsoleAdmin):
    empty_hint = (
        "No model is registered yet. "
        "Choose Discover models, above: NOA scans its model folders and lists the models of every provider. "
        "To use OpenAI, Anthropic, Ollama or vLLM, add a provider first."
    )
    list_display = (
        "key_and_name",
        "status_badge",
        "route_badges",
        "can_do",
        "context",
        "size",
        "quantization",
        "provider_name",
    )
    list_select_related = ("provider", "version")
    list_filter = ("status", CapabilityFilter, QuantizationFilter, "provider", "deprecated")
    search_fields = ("key", "name", "description")
    search_help_text = "Key, name or description"
    form = DescriptionForm
    ordering = ("key",)
    inlines = (VersionInline,)
    readonly_fields = (
        "key",
        "provider_name",
        "file",
        "sha256",
        "tag_badges",
        "last_options",
        "registered",
        "updated",
    )
    change_form_outer_before_template = "admin/noa/model.html"
    fieldsets = (
        ("Description", {"fields": ("name", "description")}),
        (
            "Properties",
            {
                "fields": (
                    ("key", "provider_name"),
                    ("tag_badges", "last_options"),
                    "file",
                    "sha256",
                    ("registered", "updated"),
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RegisteredModel]:
        rows: QuerySet[RegisteredModel] = super().get_queryset(request)
        return rows.prefetch_related("routes")

    def save_model(self, request: HttpRequest, obj: RegisteredModel, form: Any, change: bool) -> None:
        # Only changed fields: saving the whole row would overwrite a newer status.
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        if changes:
            registration.update(key=obj.key, fields=changes, actor=actions.actor(request))
            actions.record_audit(request, "update_model", subject=obj.key, status=200, arguments=changes)

    def get_custom_urls(self) -> tuple[tuple[str, str, Any], ...]:
        return (
            ("<int:pk>/copies/", "models_app_registeredmodel_copies", self.copies_view),
            ("<int:pk>/log/", "models_app_registeredmodel_log", self.log_view),
        )

    def copies_view(self, request: HttpRequest, pk: int, **_: object) -> HttpResponse:
        """The part of the page that is polled while it is visible."""
        model = self._viewed(request, pk)
        return render(request, "admin/noa/model_copies.html", model_page.copies(model))

    def log_view(self, request: HttpRequest, pk: int, **_: object) -> HttpResponse:
        log = model_page.log_of(self._viewed(request, pk))
        return render(request, "admin/noa/model_log.html", {"log": log})

    def _viewed(self, request: HttpRequest, pk: int) -> RegisteredModel:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(RegisteredModel, pk=pk)

    def row_context(self, request: HttpRequest, row: RegisteredModel) -> dict[str, Any]:
        may = {"may_operate": self.has_operate_permission(request)}
        return {"page": model_page.context(row) | may}

    @action(
        description="Discover models…",
        url_path="discover",
        icon="travel_explore",
        permissions=["operate"],
        dialog={
            "title": "Discover models",
            "description": "Lists the models of every provider and scans the model folders.",
            "form_class": None,
            "form_submit_text": "Discover",
        },
    )
    def discover_models(self, request: HttpRequest, form: Any) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: commands.request_discover(actor=actions.actor(request)),
            action="discover_models",
            subject="",
            otherwise=reverse("admin:models_app_registeredmodel_changelist"),
        )

    @display(description="Model", ordering="key")
    def key_and_name(self, model: RegisteredModel) -> SafeString:
        return badges.two_lines(model.key, model.name if model.name != model.model_id else "")

    @display(description="Status", ordering="status")
    def status_badge(self, model: RegisteredModel) -> SafeString | str:
        texts = [model.status] + (["deprecated"] if model.deprecated else [])
        return badges.badges(texts)

    @display(description="Routes")
    def route_badges(self, model: RegisteredModel) -> SafeString | str:
        names = sorted(route.name for route in model.routes.all())
        return badges.badges(names, "current")

    @display(description="Capabilities")
    def can_do(self, model: RegisteredModel) -> str:
        return ", ".join(word.replace("_", " ").replace("json", "JSON") for word in model.capabilities) or units.NOTHING

    @display(description="Context", ordering="context_window")
    def context(self, model: RegisteredModel) -> str:
        return units.tokens(model.context_window)

    @display(description="Size", ordering="version__size_bytes")
    def size(self, model: RegisteredModel) -> str:
        return units.size(model.version.size_bytes if model.version else None)

    @display(description="Quantization", ordering="version__quantization")
    def quantization(self, model: RegisteredModel) -> str:
        return (model.version and model.version.quantization) or units.NOTHING

    @display(description="Provider", ordering="provider__slug")
    def provider_name(self, model: RegisteredModel) -> str:
        return model.provider.slug

    @display(description="Registered")
    def registered(self, model: RegisteredModel) -> SafeString | str:
        return badges.moment(model.created_at)

    @display(description="Last changed")
    def updated(self, model: RegisteredModel) -> SafeString | str:
        return badges.moment(model.updated_at)

    @display(description="File")
    def file(self, model: RegisteredModel) -> str:
        return model.version.path if model.version else units.NOTHING

    @display(description="SHA-256")
    def sha256(self, model: RegisteredModel) -> str:
        return model.version.sha256 if model.version else units.NOTHING

    @display(description="Tags")
    def tag_badges(self, model: RegisteredModel) -> SafeString | str:
        return badges.badges(str(tag) for tag in model.tags)

    @display(description="Options of the last load")
    def last_options(self, model: RegisteredModel) -> str:
        text = ", ".join(f"{name} {value}" for name, value in model.load_options.items())
        return text or "chosen by NOA"
