"""Adds, updates and removes the providers that the server's environment defines."""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction

from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.events import EventName
from models_app.models import Provider
from models_app.services.events import events
from models_app.services.registry import provider_settings
from models_app.services.registry.provider_settings import FROM_ENVIRONMENT
from models_app.services.routes import routing

logger = logging.getLogger(__name__)

_ACTOR = "environment"


def from_environment() -> None:
    """Applies the environment's providers to the registry. Idempotent; call at the start of a server.

    `NOA_PROVIDERS` overrides a provider that was configured under the same name; a variable that other programs read
    too, such as `OPENAI_API_KEY`, does not.
    """
    named: dict[str, ProviderSettings] = dict(settings.NOA_PROVIDERS)
    with transaction.atomic():
        # Serializes servers that start at the same time.
        events.take_lock()
        for slug, defined in settings.NOA_WELL_KNOWN_PROVIDERS:
            found = Provider.objects.filter(slug=slug).first()
            if found is None or found.origin == FROM_ENVIRONMENT:
                named.setdefault(slug, defined)
        for slug, defined in named.items():
            _apply(slug, defined)
        for provider in Provider.objects.filter(origin=FROM_ENVIRONMENT).exclude(slug__in=named):
            _remove(provider)


def _apply(slug: str, defined: ProviderSettings) -> None:
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        provider_settings.add(slug=slug, settings=defined, actor=_ACTOR, origin=FROM_ENVIRONMENT)
        return
    if provider.kind != defined.kind:
        logger.warning(
            "the provider '%s' of NOA_PROVIDERS is ignored: there is one of the kind '%s' with models",
            slug,
            provider.kind,
        )
        return
    provider.origin = FROM_ENVIRONMENT
    provider_settings.store(provider=provider, settings=defined, actor=_ACTOR, cause="the start")


def _remove(provider: Provider) -> None:
    """Removes a provider that the environment no longer defines; with models, it is disabled and loses its secret."""
    if not provider.models.exists():
        provider_settings.delete(provider=provider, actor=_ACTOR, cause="the environment no longer defines it")
        return
    provider.origin, provider.enabled, provider.secret, provider.secret_env = "api", False, "", ""
    provider.save()
    routing.bump()
    events.publish(
        name=EventName.PROVIDER_CHANGED,
        subject=provider.slug,
        message=f"The provider {provider.slug} was disabled: the environment no longer defines it.",
        actor=_ACTOR,
        cause="the environment no longer defines it",
        before={"enabled": True, "origin": FROM_ENVIRONMENT},
        after={"enabled": False, "origin": "api"},
    )
