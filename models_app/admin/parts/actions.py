"""Operations of confirmed dialogs: create and enqueue a job, audit it, report the outcome, redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from models_app.admin.parts import badges
from models_app.domain.errors import NoaError
from models_app.models import Job
from models_app.services.coordination import audit
from models_app.tasks import queueing


def actor(request: HttpRequest) -> str:
    """The signed-in user as jobs, events and the audit log record them: `user:<name>`."""
    return f"user:{request.user.get_username()}"[:150]


def start_job(
    request: HttpRequest,
    create: Callable[[], tuple[Job, bool]],
    *,
    action: str,
    subject: str,
    otherwise: str,
) -> HttpResponse:
    """Redirect to the job that `create` returns, or to `otherwise` with the reason of its refusal.

    `create` returns the job and whether it is new. `action` (the API's operation id) and `subject` (the object's name)
    are for the audit log.
    """
    try:
        job, created = create()
    except NoaError as error:
        record_audit(request, action, subject=subject, status=error.http_status, error_code=error.code)
        messages.error(request, error.message)
        return go_to(request, otherwise)
    record_audit(request, action, subject=subject, status=202, arguments=job.arguments, job_id=job.pk)
    if created:
        queueing.enqueue(job)
        messages.success(request, "The job was started. This page shows its progress.")
    else:
        messages.info(request, "The same job was in progress already: this is its page.")
    return go_to(request, badges.page_of(job))


def run(request: HttpRequest, operation: Callable[[], object], *, action: str, subject: str, message: str) -> bool:
    """Run an operation without a job, audit it and report the outcome; `message` is shown on success."""
    try:
        operation()
    except NoaError as error:
        record_audit(request, action, subject=subject, status=error.http_status, error_code=error.code)
        messages.error(request, error.message)
        return False
    record_audit(request, action, subject=subject, status=200)
    messages.success(request, message)
    return True


def record_audit(request: HttpRequest, action: str, **facts: Any) -> None:
    """Write an audit entry for an operation of the console; `facts` are arguments of `coordination.audit.record`."""
    audit.record(
        channel=audit.Channel.CONSOLE,
        actor=actor(request),
        action=action,
        method=request.method or "",
        path=request.path,
        request_id=getattr(request, "noa_request_id", ""),
        client=request.META.get("REMOTE_ADDR") or "",
        **facts,
    )


def go_to(request: HttpRequest, url: str) -> HttpResponse:
    """Redirect. Forms of dialogs are sent by htmx, which without HX-Redirect would put the page into the dialog."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)
