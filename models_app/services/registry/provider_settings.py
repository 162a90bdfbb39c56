"""Adds, changes and removes providers, each with one event; secrets are write-only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from models_app.domain.catalog.provider_settings import ProviderSettings, check_remote
from models_app.domain.catalog.providers import TIMEOUT_LIMITS, checked_timeouts
from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.provider_kinds import ProviderKind
from models_app.models import Provider
from models_app.services.catalog import lookup
from models_app.services.coordination import secrets
from models_app.services.events import events
from models_app.services.providers import contacts, providers
from models_app.services.routes import routing

# Far more than a team has; every discovery requests the list of each.
MAX_PROVIDERS = 200
BUILT_IN, FROM_ENVIRONMENT = "built-in", "environment"

_SHOWN_IN_EVENTS = (
    "kind",
    "name",
    "base_url",
    "secret_env",
    "allow_private_addresses",
    "timeouts",
    "enabled",
)


def represent(provider: Provider) -> dict[str, Any]:
    """The provider in the API's form: whether there is a secret and where, but never the secret."""
    source = None
    if providers.is_remote(provider):
        source = "environment" if provider.secret_env else "stored" if provider.secret else None
    return {
        "slug": provider.slug,
        "kind": provider.kind,
        "name": provider.name,
        "base_url": providers.base_url(provider) or None,
        "is_remote": providers.is_remote(provider),
        "enabled": provider.enabled,
        "has_secret": source is not None,
        "secret_source": source,
        "secret_env": provider.secret_env or None,
        "allow_private_addresses": provider.allow_private_addresses,
        "timeouts": {name: provider.timeouts.get(name) for name in TIMEOUT_LIMITS},
        "origin": provider.origin if providers.is_remote(provider) else BUILT_IN,
        "state": dataclasses.asdict(contacts.state_of(provider)),
        "circuit": {
            "state": provider.breaker,
            "reason": provider.breaker_reason,
            "changed_at": provider.breaker_changed_at,
        },
        "discovered_at": provider.discovered_at,
        "discovery_error": provider.discovery_error or None,
        "created_at": provider.created_at,
        "updated_at": provider.updated_at,
    }


def check_new(*, slug: str, settings: ProviderSettings) -> str:
    """The canonical name. Raises InvalidRequest for invalid settings, and Conflict when the name is taken."""
    canonical = check_remote(slug, settings)
    if Provider.objects.filter(slug=canonical).exists():
        raise Conflict(
            f"There is a provider '{canonical}' already. Change that one, or choose another name.",
            code="provider_exists",
            param="slug",
        )
    if Provider.objects.count() >= MAX_PROVIDERS:
        raise Conflict(
            f"There are {MAX_PROVIDERS} providers already. Delete one that is not needed any more.",
            code="too_many_providers",
        )
    return canonical


@transaction.atomic
def add(*, slug: str, settings: ProviderSettings, actor: str, origin: str = "api") -> Provider:
    """Add a provider. Raises as `check_new` does."""
    routing.bump()
    canonical = check_new(slug=slug, settings=settings)
    provider = Provider(slug=canonical, kind=settings.kind, origin=origin)
    _apply(provider, settings)
    provider.save(force_insert=True)
    events.publish(
        name=EventName.PROVIDER_ADDED,
        subject=canonical,
        message=f"The provider {canonical} ({provider.kind}) was added.",
        actor=actor,
        cause="requested",
        after=_shown(provider),
    )
    return provider


@transaction.atomic
def change(*, slug: str, fields: Mapping[str, Any], actor: str) -> Provider:
    """Changes some fields of `ProviderSettings`, but not the kind. Raises NotFound, or as `check_change` does."""
    routing.bump()
    provider = lookup.provider(slug=slug)
    merged = merge(provider=provider, fields=fields)
    check_change(provider=provider, settings=merged)
    return store(provider=provider, settings=merged, actor=actor)


def merge(*, provider: Provider, fields: Mapping[str, Any]) -> ProviderSettings:
    """The provider's present settings with some replaced; a timeout of null is removed."""
    present = ProviderSettings(
        kind=ProviderKind(provider.kind),
        name=provider.name,
        base_url=provider.base_url,
        allow_private_addresses=provider.allow_private_addresses,
        timeouts=provider.timeouts,
        enabled=provider.enabled,
    )
    timeouts = {**provider.timeouts, **fields.get("timeouts", {})}
    return dataclasses.replace(present, **{**fields, "timeouts": timeouts})


def check_change(*, provider: Provider, settings: ProviderSettings) -> None:
    """Raises InvalidRequest for invalid settings, Conflict for a provider of the environment or the built-in one."""
    _refuse_foreign(provider)
    if not providers.is_remote(provider):
        if settings != merge(provider=provider, fields={"name": settings.name}):
            raise Conflict(
                f"'{provider.slug}' stands for the files of this machine: only its name can be changed. To use a"
                " llama-server on another machine, add a provider of the kind 'llama.cpp' with a base URL.",
                code="provider_built_in",
            )
        return
    check_remote(provider.slug, settings)
    _refuse_to_move_secret(provider, settings)


def store(*, provider: Provider, settings: ProviderSettings, actor: str, cause: str = "requested") -> Provider:
    """Replaces the settings of an existing provider. Call inside a transaction; equal settings change nothing."""
    before, sealed = _shown(provider), provider.secret
    origin = Provider.objects.values_list("origin", flat=True).get(pk=provider.pk)
    _apply(provider, settings)
    after = _shown(provider)
    new_secret = provider.secret != sealed
    if before == after and not new_secret and origin == provider.origin:
        return provider
    if new_secret or any(before[name] != after[name] for name in ("base_url", "secret_env")):
        contacts.forget(provider)
    provider.save()
    routing.bump()
    names = [name for name in after if after[name] != before[name]]
    events.publish(
        name=EventName.PROVIDER_CHANGED,
        subject=provider.slug,
        message=f"The provider {provider.slug} was changed: {', '.join(names) or 'its secret'}.",
        actor=actor,
        cause=cause,
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
        data={"secret_changed": new_secret},
    )
    return provider


@transaction.atomic
def remove(*, slug: str, actor: str, cause: str = "requested") -> None:
    """Remove a provider. Raises NotFound, or Conflict if it is of the environment, built-in, or has models."""
    routing.bump()
    provider = lookup.provider(slug=slug)
    _refuse_foreign(provider)
    if not providers.is_remote(provider):
        raise Conflict(
            f"'{provider.slug}' stands for the files of this machine and cannot be deleted.",
            code="provider_built_in",
        )
    delete(provider=provider, actor=actor, cause=cause)


def delete(*, provider: Provider, actor: str, cause: str) -> None:
    """Delete a provider. Call inside a transaction. Raises Conflict when it has models."""
    count = provider.models.count()
    if count:
        raise Conflict(
            f"'{provider.slug}' has {count} registered models. Take them out of the registry first, or disable the"
            " provider with 'enabled': false.",
            code="provider_has_models",
            details={"models": count},
        )
    before = _shown(provider)
    provider.delete()
    events.publish(
        name=EventName.PROVIDER_REMOVED,
        subject=provider.slug,
        message=f"The provider {provider.slug} was removed.",
        actor=actor,
        cause=cause,
        before=before,
    )


def _refuse_foreign(provider: Provider) -> None:
    if provider.origin == FROM_ENVIRONMENT:
        raise Conflict(
            f"'{provider.slug}' is set by the environment of the server. Change NOA_PROVIDERS, or the variable of its"
            " key, and start NOA again.",
            code="provider_from_environment",
        )


def _apply(provider: Provider, settings: ProviderSettings) -> None:
    """Check and set the fields, without saving."""
    provider.name = settings.name
    provider.base_url = settings.base_url
    provider.allow_private_addresses = settings.allow_private_addresses
    provider.timeouts = checked_timeouts(settings.timeouts)
    provider.enabled = settings.enabled
    _set_secret(provider, settings)


def _set_secret(provider: Provider, settings: ProviderSettings) -> None:
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    if key or settings.secret_env is not None:
        provider.secret_env = settings.secret_env or ""
    if settings.secret_env or key == "":
        provider.secret = ""
    if key == "" and settings.secret_env is None:
        provider.secret_env = ""
    if key and not _is_stored(provider, key):
        provider.secret = secrets.seal(key)


def _is_stored(provider: Provider, key: str) -> bool:
    """Compared in plain text: encrypting the same key twice gives different bytes, which would count as a change."""
    try:
        return bool(provider.secret) and secrets.unseal(provider.secret) == key
    except secrets.SecretUnreadable:
        return False


def _refuse_to_move_secret(provider: Provider, settings: ProviderSettings) -> None:
    """A stored key must not be sent to an address that is entered later: its owner would receive the key."""
    moved = Provider(kind=provider.kind, base_url=settings.base_url)
    if providers.base_url(moved) == providers.base_url(provider):
        return
    # An empty `api_key` removes the present one, which is allowed.
    if (provider.secret or provider.secret_env) and not (settings.secret_env or settings.api_key is not None):
        raise InvalidRequest(
            "With another 'base_url', enter the key again ('api_key' or 'secret_env'), or remove it with"
            ' "api_key": null: the present one belongs to the present address.',
            code="secret_needed",
            param="api_key",
        )


def _shown(provider: Provider) -> dict[str, Any]:
    shown = {name: getattr(provider, name) for name in _SHOWN_IN_EVENTS}
    return shown | {"has_secret": bool(provider.secret or provider.secret_env)}
