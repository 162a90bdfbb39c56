"""Measured benchmarks of models."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from models_app.admin.measuring import profile_badges
from models_app.admin.parts import actions, badges, units
from models_app.admin.parts.base import MachineWrittenAdmin
from models_app.admin.parts.dialogs import ProfileRunDialog
from models_app.admin.parts.filters import StartedFilter
from models_app.models import ProfileRun
from models_app.services.api_keys import staff
from models_app.services.profiling import profiling


@admin.register(ProfileRun)
class ProfileRunAdmin(MachineWrittenAdmin):
    empty_hint = (
        "No model was profiled yet. Open a loaded model and choose Profile: its speed, latency and memory are measured."
    )
    list_display = ("model_key", "when", "state", "loads", "ttft", "speed", "latency", "verdict")
    list_select_related = ("model",)
    list_filter = (StartedFilter, "complete")
    search_fields = ("model__key",)
    search_help_text = "Model"
    ordering = ("-started_at",)
    sortable_by = ()
    actions_row = ("make_baseline",)
    actions_detail = ("make_baseline",)
    change_form_outer_before_template = "admin/noa/profile.html"
    fieldsets = (
        ("Request", {"fields": (("model_link", "when"), ("state", "verdict"), "settings_text")}),
        ("Environment", {"fields": ("environment_text",)}),
    )

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="mark_baseline")

    @action(
        description="Make baseline…",
        url_path="baseline",
        icon="flag",
        permissions=["operate"],
        dialog={
            "title": "Compare later profiles with this one",
            "description": "Otherwise each is compared with the previous one that has the same settings.",
            "form_class": ProfileRunDialog,
            "form_submit_text": "Make baseline",
        },
    )
    def make_baseline(self, request: HttpRequest, form: ProfileRunDialog, object_id: str) -> HttpResponse:
        def mark() -> None:
            profiling.mark_baseline(profile_id=form.run.pk, baseline=True)

        message = "Later profiles of this model are compared with this one."
        actions.run(request, mark, action="update_profile", subject=str(form.run.pk), message=message)
        return actions.go_to(request, badges.page_of(form.run))

    def row_context(self, request: HttpRequest, row: ProfileRun) -> dict[str, Any]:
        return {"profile": profile_badges.page(row)}

    @display(description="Model", ordering="model__key")
    def model_key(self, run: ProfileRun) -> str:
        return run.model.key

    @display(description="Model")
    def model_link(self, run: ProfileRun) -> SafeString | str:
        return badges.link(run.model)

    @display(description="When")
    def when(self, run: ProfileRun) -> SafeString | str:
        return badges.moment(run.started_at)

    @display(description="State")
    def state(self, run: ProfileRun) -> SafeString:
        return profile_badges.state(run)

    @display(description="At a time")
    def loads(self, run: ProfileRun) -> str:
        return profile_badges.loads(run) or units.NOTHING

    @display(description="First token p50")
    def ttft(self, run: ProfileRun) -> str:
        return units.milliseconds(profile_badges.figure(run, "ttft_ms"))

    @display(description="Speed p50")
    def speed(self, run: ProfileRun) -> str:
        return units.speed(profile_badges.figure(run, "generation_tokens_per_second"))

    @display(description="Whole answer p50")
    def latency(self, run: ProfileRun) -> str:
        return units.milliseconds(profile_badges.figure(run, "e2el_ms"))

    @display(description="Against its baseline")
    def verdict(self, run: ProfileRun) -> Any:
        return profile_badges.verdict(run)

    @display(description="Settings")
    def settings_text(self, run: ProfileRun) -> SafeString | str:
        return badges.data(run.settings)

    @display(description="Environment")
    def environment_text(self, run: ProfileRun) -> SafeString | str:
        return badges.data(run.environment)
