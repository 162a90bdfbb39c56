"""The providers that the server's environment names: made, kept as they are named there, and let go."""

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
    """Make the registry's providers those of the environment. Idempotent; call at the start of a server.

    `NOA_PROVIDERS` goes before what was configured under the same name; a key that only lies in the environment, as
    `OPENAI_API_KEY` does for other programs too, does not.
    """
    named: dict[str, ProviderSettings] = dict(settings.NOA_PROVIDERS)
    with transaction.atomic():
        # Servers that start at the same time do this one after the other.
        events.take_turn()
        for slug, given in settings.NOA_WELL_KNOWN_PROVIDERS:
            found = Provider.objects.filter(slug=slug).first()
            if found is None or found.origin == FROM_ENVIRONMENT:
                named.setdefault(slug, given)
        for slug, given in named.items():
            _keep(slug, given)
        for provider in Provider.objects.filter(origin=FROM_ENVIRONMENT).exclude(slug__in=named):
            _let_go(provider)


def _keep(slug: str, given: ProviderSettings) -> None:
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        provider_settings.add(slug=slug, settings=given, actor=_ACTOR, origin=FROM_ENVIRONMENT)
        return
    if provider.kind != given.kind:
        logger.warning(
            "the provider '%s' of NOA_PROVIDERS is left out: there is one of the kind '%s' with models",
            slug,
            provider.kind,
        )
        return
    provider.origin = FROM_ENVIRONMENT
    provider_settings.store(provider=provider, settings=given, actor=_ACTOR, cause="the start")


def _let_go(provider: Provider) -> None:
    """What nothing names any more cannot be asked. Models of it keep it, without its secret."""
    if not provider.models.exists():
        provider_settings.delete(provider=provider, actor=_ACTOR, cause="the environment names it no more")
        return
    provider.origin, provider.enabled, provider.secret, provider.secret_env = "api", False, "", ""
    provider.save()
    routing.bump()
    events.publish(
        name=EventName.PROVIDER_CHANGED,
        subject=provider.slug,
        message=f"The provider {provider.slug} was disabled: the environment names it no more.",
        actor=_ACTOR,
        cause="the environment names it no more",
        before={"enabled": True, "origin": FROM_ENVIRONMENT},
        after={"enabled": False, "origin": "api"},
    )
