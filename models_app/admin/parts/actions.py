"""From a confirmed dialog to a job: ask, hand over, say what happened, go to the job's page."""

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
    """The name under which jobs and events know who asked."""
    return f"user:{request.user.get_username()}"[:150]


def ask(
    request: HttpRequest,
    wish: Callable[[], tuple[Job, bool]],
    *,
    action: str,
    subject: str,
    otherwise: str,
) -> HttpResponse:
    """Go to the job that the wish became, or to `otherwise` with the reason why it was refused.

    `action` and `subject` are for the audit log: the name of the same operation of the API, and what it is about.
    """
    try:
        job, created = wish()
    except NoaError as error:
        note(request, action, subject=subject, status=error.http_status, error_code=error.code)
        messages.error(request, error.message)
        return go_to(request, otherwise)
    note(request, action, subject=subject, status=202, arguments=job.arguments, job_id=job.pk)
    if created:
        queueing.enqueue(job)
        messages.success(request, "The job was started. This page follows it.")
    else:
        messages.info(request, "The same work was under way already: this is its job.")
    return go_to(request, badges.page_of(job))


def do(request: HttpRequest, act: Callable[[], object], *, action: str, subject: str, told: str) -> bool:
    """Do what makes no job, note it, and say how it went; `told` is what is said when it went well."""
    try:
        act()
    except NoaError as error:
        note(request, action, subject=subject, status=error.http_status, error_code=error.code)
        messages.error(request, error.message)
        return False
    note(request, action, subject=subject, status=200)
    messages.success(request, told)
    return True


def note(request: HttpRequest, action: str, **facts: Any) -> None:
    """A row of the audit log for what was done in the console; see `services.audit.record` for the facts."""
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
    """A dialog's form is sent by htmx, which would put the next page into the dialog unless it is told."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)
