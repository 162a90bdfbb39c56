"""The search of Ctrl+K: pages, models, routes, and requests and jobs by their whole id."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from models_app.admin.parts import badges
from models_app.admin.records import jobs
from models_app.models import AccessLog, Job, RegisteredModel, Route
from models_app.services.api_keys import staff

# The lists of models and routes can be searched for more.
_MAX_PER_KIND = 12


class _Page(NamedTuple):
    title: str
    description: str
    url_name: str
    operation: str
    icon: str


_PAGES = (
    _Page(
        "Overview",
        "Loaded models, their health, recent events",
        "admin:index",
        "list_models",
        "space_dashboard",
    ),
    _Page("Playground", "Chat with a model or a route", "console:playground", "load_model", "forum"),
)


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """unfold's search callback; limited to the user's rights."""
    may = {
        word: staff.may_view(user=request.user, table=word) for word in ("registeredmodel", "route", "accesslog", "job")
    }
    found = [*_pages(request, term)]
    found += _models(term) if may["registeredmodel"] else []
    found += _routes(term) if may["route"] else []
    found += _requests(term) if may["accesslog"] else []
    found += _jobs(term) if may["job"] else []
    return found


def _pages(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    for page in _PAGES:
        if (
            staff.may(user=request.user, operation=page.operation)
            and term in f"{page.title} {page.description}".lower()
        ):
            yield _result(page.title, page.description, reverse(page.url_name), page.icon)


def _models(term: str) -> Iterable[SearchResult]:
    rows = RegisteredModel.objects.filter(search_text__contains=term).order_by("key")
    for model in rows[:_MAX_PER_KIND]:
        yield _result(model.key, f"Model, {model.status}", badges.page_of(model), "deployed_code")


def _routes(term: str) -> Iterable[SearchResult]:
    rows = Route.objects.select_related("target").filter(name__contains=term).order_by("name")
    for route in rows[:_MAX_PER_KIND]:
        to = route.target.key if route.target else "nothing"
        yield _result(route.name, f"Route to {to}", badges.page_of(route), "alt_route")


def _requests(term: str) -> Iterable[SearchResult]:
    # Whole ids, by indexes: a search by part of an id would scan the whole log.
    rows = AccessLog.objects.filter(request_id=term) or AccessLog.objects.filter(client_request_id=term)
    for row in rows[:_MAX_PER_KIND]:
        text = f"Request to {row.model_key or row.requested_model}, {row.status}"
        yield _result(row.request_id, text, badges.page_of(row), "receipt_long")


def _jobs(term: str) -> Iterable[SearchResult]:
    try:
        number = uuid.UUID(term)
    except ValueError:
        return
    for job in Job.objects.filter(pk=number):
        yield _result(jobs.sentence(job), f"Job, {job.state}", badges.page_of(job), "pending_actions")


def _result(title: str, description: str, link: str, icon: str) -> SearchResult:
    return SearchResult(title=title, description=description, link=link, icon=icon)
