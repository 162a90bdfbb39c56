"""One inference request, parsed and admitted, on its way to a runner or a provider."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.residency.suspects import Death
from models_app.gateway.calls.call import Call
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
        path = "/v1/chat/completions" if self.dialect else self.path
        return (
            f"POST {path} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nX-Request-ID: "
        ).encode("ascii")


@dataclass(slots=True)
class Inference:
    """patience  seconds that the request waits for a model that is not loaded
    death     of the last runner that died with this request in it, until another has survived it
    """

    call: Call
    endpoint: Endpoint
    head: bytes
    body: ParsedBody
    patience: float
    watch: Watch
    death: Death | None = None
