"""The headers by which a provider recognizes NOA, and the version of its API that NOA speaks."""

from __future__ import annotations

from models_app.domain.provider_kinds import KINDS
from models_app.domain.traffic.routing import RemoteEndpoint


def headers(endpoint: RemoteEndpoint) -> dict[str, str]:
    """Of every request to this provider. They hold its secret: for the wire, and for nothing else."""
    row = KINDS[endpoint.kind]
    name, before = row.key_header
    key = endpoint.api_key
    return dict(row.headers) | ({name: f"{before}{key}"} if key else {})
