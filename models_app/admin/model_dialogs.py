"""Load, unload and switch: dialogs of the model's row and of its page. A GET shows the dialog and changes nothing."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.enums import ActionVariant

from models_app.admin import asking, marks
from models_app.admin.forms import LoadDialog, SwitchDialog, UnloadDialog
from models_app.domain.routing import CURRENT_ROUTE
from models_app.services import requests


class ModelDialogs:
    """To be mixed into the page of registered models. Who may change a model may operate it."""

    actions_row = ("load_model", "make_current", "unload_model")
    actions_detail = ("load_model", "make_current", "unload_model")
    actions_list = ("discover_models",)

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("models_app.change_registeredmodel"))

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
        return asking.ask(
            request,
            lambda: requests.request_load(
                key=form.model.key, options=form.options(), actor=asking.actor(request)
            ),
            action="load_model",
            subject=form.model.key,
            otherwise=marks.page_of(form.model),
        )

    @action(
        description="Make current…",
        url_path="make-current",
        icon="swap_horiz",
        variant=ActionVariant.PRIMARY,
        permissions=["operate"],
        dialog={
            "title": "Make this the current model",
            "description": "",
            "form_class": SwitchDialog,
            "form_submit_text": "Switch",
        },
    )
    def make_current(
        self, request: HttpRequest, form: SwitchDialog, object_id: str
    ) -> HttpResponse:
        return asking.ask(
            request,
            lambda: requests.request_switch(
                key=form.model.key,
                route=CURRENT_ROUTE,
                keep_previous=form.cleaned_data["keep_previous"],
                actor=asking.actor(request),
            ),
            action="switch_model",
            subject=form.model.key,
            otherwise=marks.page_of(form.model),
        )

    @action(
        description="Unload…",
        url_path="unload",
        icon="eject",
        permissions=["operate"],
        dialog={
            "title": "Unload this model",
            "description": "Requests in flight are answered first; then its memory is given back.",
            "form_class": UnloadDialog,
            "form_submit_text": "Unload",
        },
    )
    def unload_model(
        self, request: HttpRequest, form: UnloadDialog, object_id: str
    ) -> HttpResponse:
        return asking.ask(
            request,
            lambda: requests.request_unload(key=form.model.key, actor=asking.actor(request)),
            action="unload_model",
            subject=form.model.key,
            otherwise=marks.page_of(form.model),
        )
