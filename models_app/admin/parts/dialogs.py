"""Forms of the dialogs; those of models are in `registry.model_forms`."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from models_app.domain.errors import Conflict
from models_app.domain.states import ACTIVE_JOB_STATES
from models_app.models import ApiKey, Job, ProfileRun, RegisteredModel, Route
from models_app.services.routes import routes


def number(object_id: Any) -> int:
    """The id in an address; -1, which no row has, for anything else."""
    text = str(object_id)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


class RouteDialog(BaseDialogForm):
    """A dialog about one route."""

    form_before_template = "admin/noa/dialog_facts.html"

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.route = get_object_or_404(Route.objects.select_related("target"), pk=number(object_id))

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        return {"subject": self.route.name, "facts": self.facts()}

    def facts(self) -> list[str]:
        now = self.route.target.key if self.route.target else "nothing"
        return [f"It leads to {now} now."]


class RollbackDialog(RouteDialog):
    def facts(self) -> list[str]:
        try:
            before = routes.previous_key(route=self.route)
        except Conflict as error:
            return [error.message]
        return [*super().facts(), f"It goes back to {before}, which is loaded first if necessary."]


class RouteSwitchDialog(RouteDialog):
    """Chooses the target of one route."""

    model = forms.ModelChoiceField(
        label="Model",
        queryset=RegisteredModel.objects.filter(gone_at=None).order_by("key"),
        widget=UnfoldAdminSelectWidget(),
        help_text="It is loaded first if necessary; the route moves once it has answered.",
    )
    keep_previous = forms.BooleanField(
        label="Keep the previous model loaded", required=False, widget=UnfoldBooleanSwitchWidget()
    )
    force = forms.BooleanField(
        label="Even if it cannot answer what the route answers",
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        help_text="Without it, a switch is refused to a model that cannot answer requests of the last day.",
    )


class JobDialog(BaseDialogForm):
    """A dialog about one job."""

    form_before_template = "admin/noa/dialog_facts.html"

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.job = get_object_or_404(Job, pk=_uuid(object_id))

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        ended = self.job.state not in ACTIVE_JOB_STATES
        facts = ["It has ended already."] if ended else ["Its completed steps are rolled back."]
        return {"subject": str(self.job), "facts": facts}


class ProfileRunDialog(BaseDialogForm):
    """A dialog about one profile run."""

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.run = get_object_or_404(ProfileRun.objects.select_related("model"), pk=_uuid(object_id))


def _uuid(object_id: Any) -> uuid.UUID:
    """The UUID in an address; the nil UUID, which no row has, for anything else."""
    try:
        return uuid.UUID(str(object_id))
    except ValueError:
        return uuid.UUID(int=0)


class RevokeDialog(BaseDialogForm):
    form_before_template = "admin/noa/dialog_key.html"

    def __init__(self, request: HttpRequest, object_id: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, object_id, *args, **kwargs)
        self.key = get_object_or_404(ApiKey, pk=number(object_id))

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        return {"key": self.key}
