"""Prepares an empty data folder: tables, an operator's account, an API key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command

from models_app.domain.events import EventName
from models_app.domain.scopes import Scope
from models_app.management import migrating
from models_app.models import ApiKey
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.events import events
from models_app.services.registry import provider_environment
from models_app.services.routes import routing

OPERATOR = "admin"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets that this start created, shown once; None for those that existed or were not created."""

    password: str | None
    api_key: str | None


def prepare() -> Secrets:
    """Idempotent; when several servers start at the same time, one of them creates the secrets."""
    with migrating.alone():
        return _prepare()


def _prepare() -> Secrets:
    call_command("migrate", verbosity=0, interactive=False)
    lookup.local_provider()
    provider_environment.from_environment()
    routing.get()
    is_new = not get_user_model()._default_manager.filter(is_superuser=True).exists()
    made = Secrets(_operator() if is_new else None, _api_key())
    if is_new:
        events.publish(
            name=EventName.INITIALIZED,
            message="NOA was set up on this machine.",
            actor="serve",
            cause="first start",
        )
    return made


def _operator() -> str | None:
    """Creates the operator; returns the password if it was made here."""
    given: str | None = settings.NOA_ADMIN_PASSWORD
    password = given or secrets.token_urlsafe(12)
    get_user_model()._default_manager.create_superuser(username=OPERATOR, password=password)
    return None if given else password


def _api_key() -> str | None:
    # The output of a server whose password is given can be a log that is kept: no secret belongs in it.
    if settings.NOA_ADMIN_PASSWORD or ApiKey.objects.exists():
        return None
    _, text = keys.create(name="first start", scopes=[Scope.ADMIN], actor="serve")
    return text
