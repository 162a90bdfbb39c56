"""One inference request, read and admitted, on its way to whoever answers it."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.residency.suspects import Death
from models_app.gateway.calls.call import Call
from models_app.gateway.http.request_body import Asked
from models_app.gateway.http.watch import Watch
from models_app.gateway.routing.targets import Endpoint


@dataclass(slots=True)
class Inference:
    """`head` is the part of the request to a runner that is the same for all requests of the endpoint.

    patience  seconds that it waits for a model that is not loaded
    death     of the last runner that ended with it, until another has survived it
    """

    call: Call
    endpoint: Endpoint
    head: bytes
    asked: Asked
    patience: float
    watch: Watch
    death: Death | None = None

    def to_runner(self, body: bytes) -> bytes:
        """The bytes of a whole request to a runner."""
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            self.head,
            self.call.record.public_id.encode("ascii"),
            len(body),
            body,
        )
