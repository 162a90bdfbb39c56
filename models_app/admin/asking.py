"""From a confirmed dialog to a job: ask, hand over, say what happened, go to the job's page."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from models_app.admin import marks
from models_app.domain.errors import NoaError
from models_app.models import Job
from models_app.tasks import queueing


def actor(request: HttpRequest) -> str:
    """The name under which jobs and events know who asked."""
    return f"user:{request.user.get_username()}"


def ask(
    request: HttpRequest, wish: Callable[[], tuple[Job, bool]], *, otherwise: str
) -> HttpResponse:
    """Go to the job that the wish became, or to `otherwise` with the reason why it was refused."""
    try:
        job, created = wish()
    except NoaError as error:
        messages.error(request, error.message)
        return go_to(request, otherwise)
    if created:
        queueing.enqueue(job)
        messages.success(request, "The job was started. This page follows it.")
    else:
        messages.info(request, "The same work was under way already: this is its job.")
    return go_to(request, marks.page_of(job))


def go_to(request: HttpRequest, url: str) -> HttpResponse:
    """A dialog's form is sent by htmx, which would put the next page into the dialog unless it is told."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)
