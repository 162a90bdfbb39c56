"""Background jobs, and the page that shows the progress of one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from models_app.admin.parts import actions, badges, units
from models_app.admin.parts.base import MachineWrittenAdmin
from models_app.admin.parts.dialogs import JobDialog
from models_app.admin.parts.filters import CreatedFilter
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind, JobState
from models_app.models import Job, RegisteredModel
from models_app.services.api_keys import staff
from models_app.services.jobs import jobs

_PROGRESS = "admin/noa/job_progress.html"


@admin.register(Job)
class JobAdmin(MachineWrittenAdmin):
    empty_hint = "No jobs yet. Loads, switches, profiles and discoveries are listed here with their steps."
    list_display = ("what", "state_badge", "done", "took", "actor", "created", "error")
    list_filter = ("state", "kind", CreatedFilter)
    search_fields = ("subject", "actor", "error_message")
    search_help_text = "Subject, actor or error"
    ordering = ("-created_at",)
    fieldsets = (
        (
            "Request",
            {"fields": (("kind", "subject"), ("actor", "created"), "arguments")},
        ),
    )
    change_form_outer_before_template = "admin/noa/job.html"
    actions_detail = ("cancel_job",)

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return staff.may(user=request.user, operation="cancel_job")

    @action(
        description="Cancel…",
        url_path="cancel",
        icon="cancel",
        permissions=["operate"],
        dialog={
            "title": "Cancel this job",
            "description": "",
            "form_class": JobDialog,
            "form_submit_text": "Cancel the job",
        },
    )
    def cancel_job(self, request: HttpRequest, form: JobDialog, object_id: str) -> HttpResponse:
        actions.run(
            request,
            lambda: jobs.cancel(job_id=form.job.pk, actor=actions.actor(request)),
            action="cancel_job",
            subject=str(form.job.pk),
            message="The job is being cancelled.",
        )
        return actions.go_to(request, badges.page_of(form.job))

    def get_custom_urls(self) -> tuple[tuple[str, str, Any], ...]:
        return (("<uuid:job_id>/progress", "models_app_job_progress", self.progress_view),)

    def progress_view(self, request: HttpRequest, job_id: uuid.UUID, **_: object) -> HttpResponse:
        """The changing part of the page, which polls itself until the job has ended."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = get_object_or_404(Job, pk=job_id)
        response = render(request, _PROGRESS, {"progress": progress(job)})
        response["Cache-Control"] = "no-store"
        if job.state not in ACTIVE_JOB_STATES:
            # The page's title and messages describe the job's previous state.
            response["HX-Refresh"] = "true"
        return response

    def row_context(self, request: HttpRequest, row: Job) -> dict[str, Any]:
        return {"progress": progress(row)}

    @display(description="Job", ordering="kind")
    def what(self, job: Job) -> str:
        return sentence(job)

    @display(description="State", ordering="state")
    def state_badge(self, job: Job) -> SafeString:
        return badges.badge(job.state)

    @display(description="Progress", ordering="progress")
    def done(self, job: Job) -> str:
        return units.percent(job.progress)

    @display(description="Took")
    def took(self, job: Job) -> str:
        return _duration(job)

    @display(description="Requested", ordering="created_at")
    def created(self, job: Job) -> SafeString | str:
        return badges.moment(job.created_at)

    @display(description="Error")
    def error(self, job: Job) -> str:
        return job.error_code or units.NOTHING

    @display(description="With")
    def arguments(self, job: Job) -> str:
        return "\n".join(f"{name}: {value}" for name, value in _readable(_filled(job.arguments))) or "defaults"


def sentence(job: Job) -> str:
    """The job's work as a sentence."""
    if job.kind == JobKind.SWITCH:
        return f"Switch '{job.subject}' to {job.arguments.get('key')}"
    if job.kind == JobKind.DISCOVER:
        return f"Discover models of {job.subject}"
    return f"{job.get_kind_display().capitalize()} {job.subject}"


def progress(job: Job) -> dict[str, Any]:
    """Template context of a job's progress, while it runs and after its end."""
    about = job.arguments.get("key") or job.subject
    return {
        "job": job,
        "sentence": sentence(job),
        "active": job.state in ACTIVE_JOB_STATES,
        "failed": job.state == JobState.FAILED,
        "state": badges.badge(job.state),
        "percent": round(job.progress * 100),
        "when": _when(job),
        "steps": badges.table(
            ("Step", "State", "Took", "About"),
            [_step(step) for step in job.steps],
            "No step has started yet." if job.state in ACTIVE_JOB_STATES else "It had no steps.",
        ),
        "result": list(_readable(job.result or {})),
        "model": RegisteredModel.objects.filter(key=about).first(),
    }


def _step(step: dict[str, Any]) -> tuple[Any, ...]:
    return (
        step["name"].replace("_", " ").capitalize(),
        badges.badge(step["state"]),
        units.seconds(step["seconds"]),
        step["detail"] or units.NOTHING,
    )


def _when(job: Job) -> SafeString | str:
    """When and on which node it ran, in one line."""
    if job.started_at is None:
        return ""
    rest = [f"took {_duration(job)}"] if job.finished_at else []
    rest += [f"node {job.node}"] if job.node else []
    return format_html(
        "started {}",
        format_html_join(", ", "{}", [(part,) for part in (badges.moment(job.started_at), *rest)]),
    )


def _duration(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return units.NOTHING
    return units.seconds((job.finished_at - job.started_at).total_seconds())


def _readable(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values for display: sizes and times with their units, list items on lines of their own."""
    for name, value in values.items():
        if name.endswith("_bytes"):
            yield _label(name.removesuffix("_bytes")), units.size(value)
        elif name.endswith("_seconds"):
            yield f"{_label(name.removesuffix('_seconds'))} took", units.seconds(value)
        elif isinstance(value, bool):
            yield _label(name), "yes" if value else "no"
        elif isinstance(value, list) and not any(isinstance(item, dict | str) for item in value):
            yield _label(name), ", ".join(map(str, value)) or units.NOTHING
        elif isinstance(value, list):
            yield f"{_label(name)} ({len(value)})", "\n".join(_item(item) for item in value)
        elif isinstance(value, dict):
            text = ", ".join(f"{part} {number}" for part, number in value.items())
            yield _label(name), text or units.NOTHING
        else:
            yield _label(name), units.NOTHING if value is None else str(value)


def _filled(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value not in (None, [], {}, "")}


def _item(item: Any) -> str:
    return ": ".join(str(part) for part in item.values()) if isinstance(item, dict) else str(item)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
