"""Routes: public names and their target models."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from models_app.admin.parts import actions, badges, units
from models_app.admin.parts.base import MachineWrittenAdmin, ReadOnlyInline
from models_app.admin.parts.dialogs import RollbackDialog, RouteSwitchDialog
from models_app.models import Route, RouteChange
from models_app.services.api_keys import staff
from models_app.services.lifecycle import commands
from models_app.services.routes import routes


class ChangeInline(ReadOnlyInline):
    model = RouteChange
    verbose_name_plural = "history"
    fields = ("when", "previous", "now", "by")
    readonly_fields = fields

    @display(description="When")
    def when(self, change: RouteChange) -> SafeString | str:
        return badges.moment(change.created_at)

    @display(description="From")
    def previous(self, change: RouteChange) -> str:
        return change.previous_key or "nothing"

    @display(description="To")
    def now(self, change: RouteChange) -> str:
        return change.key or "nothing"

    @display(description="By")
    def by(self, change: RouteChange) -> str:
        return change.actor or units.NOTHING


@admin.register(Route)
class RouteAdmin(MachineWrittenAdmin):
    empty_hint = (
        "No route has a target yet. "
        "Choose Make current on the page of a model: applications then use the model name current."
    )
    list_display = ("name", "target_key", "target_status", "changed")
    list_select_related = ("target",)
    search_fields = ("name", "target__key")
    search_help_text = "Route or model key"
    ordering = ("name",)
    inlines = (ChangeInline,)
    fieldsets = ((None, {"fields": (("name", "target_status"), "target_link", "changed")}),)
    actions_row = ("switch_route", "roll_back_route")
    actions_detail = ("switch_route", "roll_back_route")

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="switch_model")

    @action(
        description="Switch…",
        url_path="switch",
        icon="swap_horiz",
        variant=ActionVariant.PRIMARY,
        permissions=["operate"],
        dialog={
            "title": "Switch this route",
            "description": "Requests to it are answered by the other model, without a failed request.",
            "form_class": RouteSwitchDialog,
            "form_submit_text": "Switch",
        },
    )
    def switch_route(self, request: HttpRequest, form: RouteSwitchDialog, object_id: str) -> HttpResponse:
        return actions.start_job(
            request,
            lambda: commands.request_switch(
                key=form.cleaned_data["model"].key,
                route=form.route.name,
                keep_previous=form.cleaned_data["keep_previous"],
                force=form.cleaned_data["force"],
                actor=actions.actor(request),
            ),
            action="switch_model",
            subject=form.cleaned_data["model"].key,
            otherwise=badges.page_of(form.route),
        )

    @action(
        description="Roll back…",
        url_path="roll-back",
        icon="undo",
        permissions=["operate"],
        dialog={
            "title": "Roll this route back",
            "description": "To its previous target, without a failed request.",
            "form_class": RollbackDialog,
            "form_submit_text": "Roll back",
        },
    )
    def roll_back_route(self, request: HttpRequest, form: RollbackDialog, object_id: str) -> HttpResponse:
        route = form.route
        return actions.start_job(
            request,
            lambda: commands.request_switch(
                key=routes.previous_key(route=route),
                route=route.name,
                force=True,
                actor=actions.actor(request),
            ),
            action="roll_back_route",
            subject=route.name,
            otherwise=badges.page_of(route),
        )

    @display(description="Leads to", ordering="target__key")
    def target_key(self, route: Route) -> str:
        return route.target.key if route.target else "nothing"

    @display(description="Leads to")
    def target_link(self, route: Route) -> SafeString | str:
        return badges.link(route.target) if route.target else "nothing"

    @display(description="Status of its model")
    def target_status(self, route: Route) -> SafeString | str:
        return badges.badge(route.target.status) if route.target else units.NOTHING

    @display(description="Last changed", ordering="updated_at")
    def changed(self, route: Route) -> SafeString | str:
        return badges.moment(route.updated_at)
