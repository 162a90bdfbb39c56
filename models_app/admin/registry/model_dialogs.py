"""Operations on a model: dialogs of its row and of its page. A GET shows the dialog and changes nothing."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.enums import ActionVariant

from models_app.admin.parts import actions, badges
from models_app.admin.registry.model_forms import (
    DeprecateDialog,
    KeepDialog,
    LoadDialog,
    ProbeDialog,
    ProfileDialog,
    SwitchDialog,
    UnloadDialog,
)
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.services.api_keys import staff
from models_app.services.lifecycle import commands
from models_app.services.profiling import probing, profiling
from models_app.services.registry import registration


class ModelDialogs:
    """Mixin for the page of registered models. The permission to change a model includes loading it, but no switch."""

    actions_row = (
        "load_model",
        "make_current",
        "unload_model",
        "profile_model",
        "probe_model",
        "keep_model",
        "deprecate_model",
    )
    # The others are buttons of the page: unfold's menus in the header cannot be opened by keyboard.
    actions_detail = ("load_model", "make_current", "unload_model")
    actions_list = ("discover_models",)

    def get_actions_row(self, request: HttpRequest) -> list[Any]:
        """Only the header's. Each action in a row's menu is rendered in every row; the page has all of them."""
        names = {f"models_app_registeredmodel_{name}" for name in self.actions_detail}
        return [row_action for row_action in super().get_actions_row(request) if row_action.action_name in names]  # type: ignore[misc]

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="load_model")

    def has_switch_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="switch_model")

    @action(
        description="Load…",
        url_path="load",
        icon="play_arrow",
        permissions=["operate"],
        dialog={
            "title": "Load this model",
            "description": "",
            "form_class": LoadDialog,
            "form_submit_text": "Load",
        },
    )
    def load_model(self, request: HttpRequest, form: LoadDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: commands.request_load(key=form.model.key, options=form.options(), actor=actions.actor(request)),
            action="load_model",
            subject=form.model.key,
            otherwise=badges.page_of(form.model),
        )

    @action(
        description="Make current…",
        url_path="make-current",
        icon="swap_horiz",
        variant=ActionVariant.PRIMARY,
        permissions=["switch"],
        dialog={
            "title": "Make this the current model",
            "description": "",
            "form_class": SwitchDialog,
            "form_submit_text": "Switch",
        },
    )
    def make_current(self, request: HttpRequest, form: SwitchDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: commands.request_switch(
                key=form.model.key,
                route=CURRENT_ROUTE,
                keep_previous=form.cleaned_data["keep_previous"],
                force=form.cleaned_data["force"],
                actor=actions.actor(request),
            ),
            action="switch_model",
            subject=form.model.key,
            otherwise=badges.page_of(form.model),
        )

    @action(
        description="Unload…",
        url_path="unload",
        icon="eject",
        permissions=["operate"],
        dialog={
            "title": "Unload this model",
            "description": "Requests in flight are finished first; then its memory is freed.",
            "form_class": UnloadDialog,
            "form_submit_text": "Unload",
        },
    )
    def unload_model(self, request: HttpRequest, form: UnloadDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: commands.request_unload(key=form.model.key, actor=actions.actor(request)),
            action="unload_model",
            subject=form.model.key,
            otherwise=badges.page_of(form.model),
        )

    @action(
        description="Profile…",
        url_path="profile",
        icon="speed",
        permissions=["operate"],
        dialog={
            "title": "Profile this model",
            "description": "Measures time to first token, speed, latency and memory under known loads.",
            "form_class": ProfileDialog,
            "form_submit_text": "Profile",
        },
    )
    def profile_model(self, request: HttpRequest, form: ProfileDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: profiling.request(key=form.model.key, wanted=form.wanted(), actor=actions.actor(request)),
            action="profile_model",
            subject=form.model.key,
            otherwise=badges.page_of(form.model),
        )

    @action(
        description="Probe…",
        url_path="probe",
        icon="fact_check",
        permissions=["operate"],
        dialog={
            "title": "Probe its capabilities",
            "description": "",
            "form_class": ProbeDialog,
            "form_submit_text": "Probe",
        },
    )
    def probe_model(self, request: HttpRequest, form: ProbeDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: probing.request(
                key=form.model.key, wanted=(), effective_context=None, actor=actions.actor(request)
            ),
            action="probe_capabilities",
            subject=form.model.key,
            otherwise=badges.page_of(form.model),
        )

    @action(
        description="Pin, priority…",
        url_path="keep",
        icon="keep",
        permissions=["operate"],
        dialog={
            "title": "How long it stays loaded",
            "description": "",
            "form_class": KeepDialog,
            "form_submit_text": "Save",
        },
    )
    def keep_model(self, request: HttpRequest, form: KeepDialog, object_id: str) -> HttpResponse:
        return self._change(request, form.model.key, form.changes(), badges.page_of(form.model))

    @action(
        description="Deprecate…",
        url_path="deprecate",
        icon="event_busy",
        permissions=["operate"],
        dialog={
            "title": "Deprecate this model",
            "description": "",
            "form_class": DeprecateDialog,
            "form_submit_text": "Save",
        },
    )
    def deprecate_model(self, request: HttpRequest, form: DeprecateDialog, object_id: str) -> HttpResponse:
        return self._change(request, form.model.key, form.changes(), badges.page_of(form.model))

    def _change(self, request: HttpRequest, key: str, changes: dict[str, object], page: str) -> HttpResponse:
        registration.update(key=key, fields=changes, actor=actions.actor(request))
        actions.record_audit(request, "update_model", subject=key, status=200, arguments=changes)
        messages.success(request, f"{key} was changed.")
        return actions.go_to(request, page)
