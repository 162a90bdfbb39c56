"""The headers that authenticate NOA to a provider, and that select the version of its API."""

from __future__ import annotations

from models_app.domain.provider_kinds import KINDS
from models_app.domain.traffic.routing import RemoteEndpoint


def headers(endpoint: RemoteEndpoint) -> dict[str, str]:
    """The headers of every request to this provider. They hold its secret: never log or return them."""
    row = KINDS[endpoint.kind]
    name, before = row.key_header
    key = endpoint.api_key
    return dict(row.headers) | ({name: f"{before}{key}"} if key else {})
