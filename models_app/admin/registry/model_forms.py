"""Forms of the operations on a model; each describes its effects first."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from models_app.admin.parts import units
from models_app.admin.parts.dialogs import number
from models_app.admin.registry import load_facts
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import InvalidRequest
from models_app.domain.states import InstanceState, ModelStatus
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import Instance, RegisteredModel, Route
from models_app.services.lifecycle import consequences, demands
from models_app.services.profiling.profiling import ProfileSettings
from models_app.services.reporting import statistics


class ModelDialog(BaseDialogForm):
    """A dialog about one registered model; 404 when it does not exist."""

    form_before_template = "admin/noa/dialog_model.html"

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.model = get_object_or_404(
            RegisteredModel.objects.select_related("version", "provider"), pk=number(object_id)
        )

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        return {"model": self.model, "facts": self.facts()}

    def facts(self) -> list[str]:
        """Sentences about the expected effects."""
        version = self.model.version
        facts = [f"Its file has {units.size(version.size_bytes)}."] if version else []
        if self.model.context_window:
            facts.append(f"It supports up to {units.tokens(self.model.context_window)} tokens.")
        return facts


class LoadDialog(ModelDialog):
    """Load options; NOA chooses the value of an empty field."""

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
        for name, value in self._filled_in().items():
            try:
                LoadOptions.parse({name: value})
            except InvalidRequest as error:
                self.add_error(name, error.message)
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned

    def options(self) -> LoadOptions:
        return LoadOptions(**self._filled_in())

    def _filled_in(self) -> dict[str, int]:
        fields = ("n_ctx", "slots", "n_gpu_layers")
        values = {name: self.cleaned_data.get(name) for name in fields}
        return {name: value for name, value in values.items() if value is not None}

    def facts(self) -> list[str]:
        last = ", ".join(f"{name} {value}" for name, value in self.model.load_options.items())
        facts = load_facts.of_load(self.model) or super().facts()
        return facts + ([f"Last loaded with {last}."] if last else [])


class UnloadDialog(ModelDialog):
    def facts(self) -> list[str]:
        return [*self._in_flight(), *consequences.of_unload(model=self.model).sentences]

    def _in_flight(self) -> list[str]:
        """Sentences about requests in flight, the time that they have, and the memory."""
        rows = Instance.objects.filter(model=self.model, state=InstanceState.READY)
        found = statistics.measured(list(rows.select_related("model", "version")))
        if not found:
            return ["It is not loaded."]
        in_flight = sum(getattr(copy, "in_flight", None) or 0 for copy in found)
        memory = units.size(sum(copy.memory_bytes or 0 for copy in found))
        wait = units.seconds(settings.NOA_DRAIN_TIMEOUT)
        return [
            f"{in_flight:,} requests are in flight: they have {wait} to finish, then they are aborted."
            if in_flight
            else "No request is in flight: it stops at once.",
            f"It frees {memory}.",
        ]


class SwitchDialog(ModelDialog):
    keep_previous = forms.BooleanField(
        label="Keep the previous model loaded",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Needs memory for both; a rollback is then instant.",
    )
    force = forms.BooleanField(
        label="Even if it cannot answer what the route answers",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Without it, a switch is refused to a model that cannot answer requests of the last day.",
    )

    def facts(self) -> list[str]:
        route = Route.objects.select_related("target").filter(name=CURRENT_ROUTE).first()
        before = route.target.key if route and route.target else "nothing"
        facts = [
            f"'{CURRENT_ROUTE}' moves from {before} to {self.model.key} when this model has been loaded and has "
            "answered; no request fails. If it cannot be loaded, nothing changes."
        ]
        if route is not None and (found := demands.unmet(model=self.model, route=route)):
            facts.append(demands.sentence(model=self.model, route=route, found=found))
        if self.model.status == ModelStatus.LOADED:
            return [*facts, "It is loaded already: the switch takes a moment."]
        return facts + load_facts.of_switch(self.model)


class ProbeDialog(ModelDialog):
    def facts(self) -> list[str]:
        facts = ["NOA sends it one small request for each capability; the answers are the evidence."]
        if self.model.price:
            facts.append("Its provider charges for these requests.")
        return facts


class ProfileDialog(ModelDialog):
    """Settings of a profile; the initial values suit a first one."""

    requests = forms.IntegerField(
        label="Requests",
        min_value=1,
        max_value=1000,
        initial=20,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="In each stage. Intervals are meaningful from 20 on.",
    )
    concurrency = forms.CharField(
        label="At the same time",
        initial="1, 4",
        widget=UnfoldAdminTextInputWidget(),
        help_text="One stage for each number.",
    )
    max_tokens = forms.IntegerField(
        label="Tokens of an answer",
        min_value=1,
        max_value=4096,
        initial=64,
        widget=UnfoldAdminIntegerFieldWidget(),
    )

    def clean_concurrency(self) -> tuple[int, ...]:
        words = self.cleaned_data["concurrency"].replace(",", " ").split()
        if not words or not all(word.isdigit() and 0 < int(word) <= 256 for word in words):
            raise forms.ValidationError("Write whole numbers from 1 to 256, like 1, 4, 8.")
        return tuple(dict.fromkeys(int(word) for word in words))

    def wanted(self) -> ProfileSettings:
        return ProfileSettings(
            requests=self.cleaned_data["requests"],
            concurrency=self.cleaned_data["concurrency"],
            max_tokens=self.cleaned_data["max_tokens"],
        )

    def facts(self) -> list[str]:
        facts = ["Requests take the same path as those of applications, and share the model with them."]
        if self.model.price:
            facts.append("Its provider charges for these requests.")
        return facts


class KeepDialog(ModelDialog):
    """How long a model stays loaded when memory is short."""

    columns = ("pinned", "priority", "idle_ttl_seconds", "on_demand")

    pinned = forms.BooleanField(
        label="Pinned",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="It is never evicted for another model.",
    )
    priority = forms.IntegerField(
        label="Priority",
        min_value=0,
        max_value=100,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="0 to 100. Only models of lower or equal priority are evicted for it.",
    )
    idle_ttl_seconds = forms.IntegerField(
        label="Unload when idle for (seconds)",
        required=False,
        min_value=0,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Empty: the server's setting.",
    )
    on_demand = forms.BooleanField(
        label="A request loads it",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Off: requests are refused while it is not loaded.",
    )

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        for name in self.columns:
            self.fields[name].initial = getattr(self.model, name)

    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.columns}


class DeprecateDialog(ModelDialog):
    deprecated = forms.BooleanField(label="Deprecated", required=False, widget=UnfoldBooleanSwitchWidget())
    deprecation_note = forms.CharField(
        label="Why, and what to use instead",
        required=False,
        max_length=1000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.fields["deprecated"].initial = True
        self.fields["deprecation_note"].initial = self.model.deprecation_note

    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("deprecated", "deprecation_note")}

    def facts(self) -> list[str]:
        return ["It still answers; lists and the API mark it as deprecated."]
