"""The forms of the dialogs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from models_app.admin import units
from models_app.domain.errors import InvalidRequest
from models_app.domain.options import LoadOptions
from models_app.domain.routing import CURRENT_ROUTE
from models_app.models import ApiKey, RegisteredModel, Route


class ModelDialog(BaseDialogForm):
    """A dialog about one registered model; a page that is not there any more is a 404."""

    form_before_template = "admin/noa/dialog_model.html"

    def __init__(
        self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.model = get_object_or_404(
            RegisteredModel.objects.select_related("version", "provider"), pk=_number(object_id)
        )

    def get_before_template_context(
        self, request: HttpRequest, object_id: Any = None
    ) -> dict[str, Any]:
        return {"model": self.model, "facts": self.facts()}

    def facts(self) -> list[str]:
        """Sentences that help to decide."""
        version = self.model.version
        told = [f"Its file has {units.size(version.size_bytes)}."] if version else []
        if self.model.context_window:
            told.append(f"It was made for up to {units.tokens(self.model.context_window)} tokens.")
        return told


def _number(object_id: Any) -> int:
    text = str(object_id)
    # What is no number belongs to no row.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


class LoadDialog(ModelDialog):
    """Empty fields leave the choice to NOA."""

    n_ctx = forms.IntegerField(
        label="Context (tokens)",
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Shared by all slots. Empty: as last time, or what NOA chooses.",
    )
    slots = forms.IntegerField(
        label="Slots",
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Requests that are answered at the same time.",
    )
    n_gpu_layers = forms.IntegerField(
        label="Layers on the GPU",
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="-1 puts all of them there.",
    )

    def clean(self) -> dict[str, Any]:
        for name, value in self.options().items():
            try:
                LoadOptions.parse({name: value})
            except InvalidRequest as error:
                self.add_error(name, error.message)
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned

    def options(self) -> dict[str, int]:
        """The load options that were filled in."""
        fields = ("n_ctx", "slots", "n_gpu_layers")
        given = {name: self.cleaned_data.get(name) for name in fields}
        return {name: value for name, value in given.items() if value is not None}

    def facts(self) -> list[str]:
        last = ", ".join(f"{name} {value}" for name, value in self.model.load_options.items())
        return super().facts() + ([f"Last loaded with {last}."] if last else [])


class UnloadDialog(ModelDialog):
    def facts(self) -> list[str]:
        names = [route.name for route in self.model.routes.all()]
        if not names:
            return []
        return [
            f"The route {', '.join(repr(name) for name in names)} leads to this model: requests to it are "
            "refused until it is switched to another model or this one is loaded again."
        ]


class SwitchDialog(ModelDialog):
    keep_previous = forms.BooleanField(
        label="Keep the previous model loaded",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Needs memory for both, and makes the way back instant.",
    )

    def facts(self) -> list[str]:
        route = Route.objects.select_related("target").filter(name=CURRENT_ROUTE).first()
        before = route.target.key if route and route.target else "nothing"
        return [
            f"'{CURRENT_ROUTE}' leads to {before} now. It moves when this model has been loaded and has answered; "
            "no request fails. If it cannot be loaded, nothing changes."
        ]


class RouteSwitchDialog(BaseDialogForm):
    """Choose where one route leads."""

    model = forms.ModelChoiceField(
        label="Model",
        queryset=RegisteredModel.objects.order_by("key"),
        widget=UnfoldAdminSelectWidget(),
        help_text="It is loaded first if it is not; the route moves when it has answered.",
    )
    keep_previous = forms.BooleanField(
        label="Keep the previous model loaded", required=False, widget=UnfoldBooleanSwitchWidget()
    )

    def __init__(
        self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.route = get_object_or_404(Route, pk=_number(object_id))


class RevokeDialog(BaseDialogForm):
    form_before_template = "admin/noa/dialog_key.html"

    def __init__(
        self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.key = get_object_or_404(ApiKey, pk=_number(object_id))

    def get_before_template_context(
        self, request: HttpRequest, object_id: Any = None
    ) -> dict[str, Any]:
        return {"key": self.key}
