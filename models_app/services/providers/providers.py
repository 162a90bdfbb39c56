"""The address and the secret of each provider."""

from __future__ import annotations

import os
from pathlib import Path

from models_app.domain.catalog.providers import checked_secret
from models_app.domain.errors import InvalidRequest, ProviderAuthFailed
from models_app.domain.provider_kinds import KINDS, ProviderKind, api_url
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.models import Provider, RegisteredModel
from models_app.services.coordination import secrets


def is_remote(provider: Provider) -> bool:
    """Whether the provider's models are reached over the network; otherwise NOA loads them from files."""
    return bool(provider.base_url) or not KINDS[ProviderKind(provider.kind)].reads_files


def base_url(provider: Provider) -> str:
    """The base address of the provider's operations, without a slash at the end; '' for local files."""
    return api_url(ProviderKind(provider.kind), provider.base_url)


def secret_of(provider: Provider) -> str:
    """The API key in plain text, '' when it has none.

    Raises SecretUnreadable, or ProviderAuthFailed when the environment variable that should hold it is not set.
    """
    if provider.secret_env:
        found = _from_environment(provider.secret_env)
        if not found:
            raise ProviderAuthFailed(
                f"The API key of '{provider.slug}' should be in the environment variable {provider.secret_env}, which"
                " is not set for this process. Set it and restart NOA, or give the provider another key."
            )
        try:
            return checked_secret(found, param=provider.secret_env)
        except InvalidRequest as error:
            raise ProviderAuthFailed(f"The API key of '{provider.slug}' cannot be used: {error.message}") from None
    return secrets.unseal(provider.secret) if provider.secret else ""


def _from_environment(variable: str) -> str:
    """The variable's value, or the content of the file that its `_FILE` variant names; '' for neither."""
    path = os.environ.get(f"{variable}_FILE")
    if path and variable not in os.environ:
        try:
            return Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
    return os.environ.get(variable, "")


def name_at_provider(model: RegisteredModel) -> str:
    """The model's name in requests to its provider."""
    return model.remote_id or model.model_id


def endpoint(provider: Provider, model: RegisteredModel | None = None) -> RemoteEndpoint:
    """The endpoint of a remote provider, and of one model of it. Raises as `secret_of` does."""
    timeouts = provider.timeouts or {}
    return RemoteEndpoint(
        provider=provider.slug,
        kind=ProviderKind(provider.kind),
        base_url=base_url(provider),
        model_id=name_at_provider(model) if model else "",
        api_key=secret_of(provider),
        allow_private=provider.allow_private_addresses,
        connect_seconds=timeouts.get("connect"),
        first_byte_seconds=timeouts.get("first_byte"),
        idle_seconds=timeouts.get("idle"),
        total_seconds=timeouts.get("total"),
    )
