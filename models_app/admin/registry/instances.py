"""Instances: loaded copies of models."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display

from models_app.admin.parts import badges, units
from models_app.admin.parts.base import MachineWrittenAdmin
from models_app.admin.parts.filters import CreatedFilter
from models_app.models import Instance

_REASON_IN_LIST = 60


@admin.register(Instance)
class InstanceAdmin(MachineWrittenAdmin):
    empty_hint = (
        "Nothing was loaded yet. "
        "Each loaded copy of a model is listed here. Open a model and choose Load, or make it current."
    )
    list_display = (
        "model_key",
        "state_badge",
        "node",
        "pid",
        "memory",
        "context",
        "slots",
        "loaded_in",
        "created",
        "failure_start",
    )
    list_select_related = ("model",)
    list_filter = ("state", "node", CreatedFilter)
    search_fields = ("model__key", "node", "failure_reason")
    search_help_text = "Model, node or reason of a failure"
    ordering = ("-created_at",)
    fieldsets = (
        ("State", {"fields": (("state_badge", "model_link"),)}),
        (
            "Process",
            {
                "fields": (
                    ("node", "process_id"),
                    ("memory", "estimate"),
                    ("context", "slots"),
                    ("loaded_in", "load_options"),
                    "version",
                    "socket",
                )
            },
        ),
        ("Times", {"fields": (("created", "ready", "stopped"),)}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        if obj is None or not obj.failure_reason:
            return self.fieldsets
        return (
            ("State", {"fields": (("state_badge", "model_link"), "failure")}),
            *self.fieldsets[1:],
        )

    @display(description="Model", ordering="model__key")
    def model_key(self, instance: Instance) -> str:
        return instance.model.key

    @display(description="Model")
    def model_link(self, instance: Instance) -> SafeString | str:
        return badges.link(instance.model)

    @display(description="State", ordering="state")
    def state_badge(self, instance: Instance) -> SafeString:
        return badges.badge(instance.state)

    @display(description="Process id")
    def process_id(self, instance: Instance) -> str:
        # A pid is an identifier: no thousands separators.
        return str(instance.pid) if instance.pid else units.NOTHING

    @display(description="Memory", ordering="memory_bytes")
    def memory(self, instance: Instance) -> str:
        return units.size(instance.memory_bytes)

    @display(description="Memory as estimated before the load")
    def estimate(self, instance: Instance) -> str:
        return units.size(instance.memory_estimate_bytes)

    @display(description="Context", ordering="context_tokens")
    def context(self, instance: Instance) -> str:
        return units.tokens(instance.context_tokens)

    @display(description="Loaded in", ordering="load_seconds")
    def loaded_in(self, instance: Instance) -> str:
        return units.seconds(instance.load_seconds)

    @display(description="Options")
    def load_options(self, instance: Instance) -> str:
        text = ", ".join(f"{name} {value}" for name, value in instance.options.items())
        return text or "chosen by NOA"

    @display(description="Created", ordering="created_at")
    def created(self, instance: Instance) -> SafeString | str:
        return badges.moment(instance.created_at)

    @display(description="Ready")
    def ready(self, instance: Instance) -> SafeString | str:
        return badges.moment(instance.ready_at)

    @display(description="Stopped")
    def stopped(self, instance: Instance) -> SafeString | str:
        return badges.moment(instance.stopped_at)

    @display(description="Failure")
    def failure_start(self, instance: Instance) -> str:
        return Truncator(instance.failure_reason).chars(_REASON_IN_LIST) or units.NOTHING

    @display(description="Why it failed")
    def failure(self, instance: Instance) -> SafeString | str:
        return badges.quoted(f"Stage '{instance.failure_stage}'\n{instance.failure_reason}")
