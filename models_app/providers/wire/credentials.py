"""The headers by which a provider knows NOA, and the version of its API that NOA speaks."""

from __future__ import annotations

from models_app.domain.catalog.providers import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint

# The version that the translations are written for.
_ANTHROPIC_VERSION = "2023-06-01"


def headers(endpoint: RemoteEndpoint) -> dict[str, str]:
    """Of every request to this provider. They hold its secret: for the wire, and for nothing else."""
    key = endpoint.api_key
    if endpoint.kind == ProviderKind.ANTHROPIC:
        return {"anthropic-version": _ANTHROPIC_VERSION} | ({"x-api-key": key} if key else {})
    return {"Authorization": f"Bearer {key}"} if key else {}
