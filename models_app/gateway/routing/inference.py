"""One inference request, parsed and admitted, on its way to a runner or a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from models_app.domain import json_body
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.suspects import Death
from models_app.domain.traffic import digests
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.keep_alive import KeepAlive
from models_app.gateway.dialects.dialects import Dialect
from models_app.gateway.http.request_body import ParsedBody
from models_app.gateway.http.watch import Watch


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One inference path, and the capability that a model needs to serve it.

    dialect  of its requests and answers; None is OpenAI's, the dialect of runners
    """

    name: str
    path: str
    capability: Capability
    dialect: Dialect | None = None

    def head(self) -> bytes:
        """The part of a request to a runner that is the same for all requests of the endpoint."""
        path = self.dialect.runner_path if self.dialect else self.path
        return (
            f"POST {path} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nX-Request-ID: "
        ).encode("ascii")


@dataclass(slots=True)
class Inference:
    """patience  seconds that the request waits for a model that is not loaded
    passed      the client's headers for a provider of its dialect
    keep_alive  of a stream
    death     of the last runner that died with this request in it, until another has survived it
    """

    call: Call
    endpoint: Endpoint
    head: bytes
    body: ParsedBody
    patience: float
    watch: Watch
    passed: Mapping[str, str] = field(default_factory=dict)
    death: Death | None = None
    keep_alive: KeepAlive | None = None
    known_digest: str = ""

    def digest(self) -> str:
        """The digest of what a runner would compute: the same for equal requests at all endpoints of a chat."""
        if not self.known_digest:
            self.known_digest = _digest(self.endpoint, self.body.raw)
        return self.known_digest


def _digest(endpoint: Endpoint, raw: bytes) -> str:
    path = digests.CHAT_PATH if endpoint.dialect else endpoint.path
    try:
        fields = json_body.decode(raw)
        if endpoint.dialect is not None:
            # Through its bytes, as the runner reads it.
            fields = json_body.decode(orjson.dumps(endpoint.dialect.translation.request(fields, model_id="model")))
        return digests.digest(path, fields)
    except (InvalidRequest, orjson.JSONEncodeError):
        return digests.of_bytes(path, raw)
