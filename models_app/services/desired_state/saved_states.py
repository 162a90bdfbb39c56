"""Snapshots: the models that should be loaded and the targets of the routes, saved under a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain.errors import Conflict, InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.domain.states import JobKind
from models_app.models import Job, RegisteredModel, Route, StateSnapshot
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.routes import routes

# The version of `content`. Later versions of NOA must still accept it.
VERSION = 1
NAME_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_NAME = re.compile(NAME_PATTERN)
# All restores have this subject, so that two of them never run at the same time.
_SUBJECT = "state"


def desired() -> dict[str, Any]:
    """The content of a snapshot taken now: the models that should be loaded, and every route."""
    return {
        "version": VERSION,
        "models": [_entry(model) for model in _desired_models()],
        "routes": _routes(),
    }


def current() -> dict[str, Any]:
    """The desired state with the actual one: each model that should be loaded with its status."""
    return {
        "node": settings.NOA_NODE,
        "models": [_entry(model) | {"status": model.status} for model in _desired_models()],
        "routes": _routes(),
    }


def _desired_models() -> Iterable[RegisteredModel]:
    return RegisteredModel.objects.filter(wanted=True).order_by("key")


def _entry(model: RegisteredModel) -> dict[str, Any]:
    return {"key": model.key, "options": model.load_options}


def _routes() -> list[dict[str, Any]]:
    found = Route.objects.select_related("target").order_by("name")
    return [routes.represent(route) for route in found]


def save(*, name: str | None, actor: str) -> StateSnapshot:
    """Save the present desired state; without a name, under the time. Raises Conflict when the name is taken."""
    if name is None:
        name = timezone.now().strftime("%Y-%m-%dT%H-%M-%S.%f")
    return _store(name, desired(), actor, "saved", cause="requested")


def take_in(*, name: str, content: dict[str, Any], actor: str) -> StateSnapshot:
    """Save a snapshot that was downloaded from this server or another. Raises as `save` does."""
    return _store(name, content, actor, "imported", cause="imported")


@transaction.atomic
def _store(name: str, content: dict[str, Any], actor: str, how: str, *, cause: str) -> StateSnapshot:
    try:
        with transaction.atomic():
            snapshot = StateSnapshot.objects.create(name=checked_name(name), content=content, actor=actor)
    except IntegrityError:
        raise Conflict(
            f"The snapshot '{name}' already exists. Choose another name, or delete that one.",
            code="snapshot_exists",
            param="name",
        ) from None
    events.publish(
        name=EventName.STATE_SAVED,
        subject=name,
        message=f"The state was {how} as '{name}': {len(content['models'])} models and"
        f" {len(content['routes'])} routes.",
        actor=actor,
        cause=cause,
        after=content,
    )
    return snapshot


def checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"'{name[:80]}' cannot be the name of a snapshot: use letters, digits, '.', '_' and '-', at most 100.",
            code="invalid_snapshot_name",
            param="name",
        )
    return name


def get(*, name: str) -> StateSnapshot:
    # Checked before the query: PostgreSQL rejects a name with NUL.
    snapshot = StateSnapshot.objects.filter(name=name).first() if _NAME.fullmatch(name) else None
    if snapshot is None:
        raise NotFound(f"There is no snapshot '{name[:100]}'.", code="snapshot_not_found", param="name")
    return snapshot


def delete(*, name: str) -> None:
    get(name=name).delete()


def request_restore(*, name: str, unload_others: bool, actor: str) -> tuple[Job, bool]:
    """A queued job and True, or the active one that does the same and False. Raises NotFound, or Conflict."""
    snapshot = get(name=name)
    return jobs.create(
        kind=JobKind.RESTORE,
        subject=_SUBJECT,
        arguments={"snapshot": snapshot.name, "unload_others": unload_others},
        actor=actor,
    )
