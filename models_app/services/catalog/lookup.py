"""Look-ups in the registry that other services share."""

from __future__ import annotations

from django.db import transaction

from models_app.domain.errors import ModelNotFound, NotFound
from models_app.domain.keys import ModelKey, canonical_slug
from models_app.domain.provider_kinds import LOCAL_KIND
from models_app.models import Provider, RegisteredModel

LOCAL_SLUG = "llama.cpp"


def get(*, key: str) -> RegisteredModel:
    """The model with this key; raises InvalidRequest for a malformed key, ModelNotFound for an unknown one."""
    canonical = str(ModelKey.parse(key))
    model = RegisteredModel.objects.select_related("provider", "version").filter(key=canonical).first()
    if model is None:
        raise not_found(canonical)
    return model


def not_found(key: str) -> ModelNotFound:
    return ModelNotFound(
        f"No model '{key}' is registered. Discover models, or look up its key in the list of models.",
        param="key",
    )


def provider(*, slug: str) -> Provider:
    """Raises NotFound for a provider that is not configured."""
    canonical = canonical_slug(slug)
    found = Provider.objects.filter(slug=canonical).first()
    if found is None:
        known = ", ".join(Provider.objects.values_list("slug", flat=True)) or "none yet"
        raise NotFound(
            f"No provider '{canonical}' is configured. Configured: {known}.",
            code="provider_not_found",
            param="provider",
        )
    return found


@transaction.atomic
def local_provider() -> Provider:
    """The provider of the GGUF files on this team's machines; it always exists."""
    provider, _ = Provider.objects.get_or_create(
        slug=LOCAL_SLUG,
        defaults={
            "kind": LOCAL_KIND,
            "name": "Local GGUF files",
            "origin": "built-in",
        },
    )
    return provider
