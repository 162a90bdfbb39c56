"""Which runner a request means, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.access import AccessRecord
from models_app.domain.capabilities import Capability
from models_app.domain.errors import InvalidRequest, ModelNotFound, ModelNotLoaded
from models_app.domain.routing import CURRENT_ROUTE, Snapshot, Target
from models_app.gateway.admission import loggable

# Loading takes seconds to minutes.
_NOT_LOADED_RETRY_AFTER = 10


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One inference path: what a model must be able to do to be asked there."""

    name: str
    path: str
    capability: Capability

    def head(self) -> bytes:
        """The part of the request to a runner that never changes."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nX-Request-ID: "
        ).encode("ascii")


def choose(snapshot: Snapshot, endpoint: Endpoint, name: str, record: AccessRecord) -> Target:
    """The target that `name` means; notes in the record what was found on the way.

    Raises ModelNotFound, ModelNotLoaded, or InvalidRequest when the model cannot do what the endpoint asks.
    """
    resolution = snapshot.resolve(name)
    if resolution is None:
        record.requested_model = loggable(name)
        raise ModelNotFound(
            f"There is no route, model key or unambiguous model id '{name[:100]}'. "
            "GET /v1/models lists the names that can be asked for.",
            param="model",
        )
    record.requested_model = name
    record.route = resolution.route or ""
    model = resolution.model
    if model is None:
        raise ModelNotLoaded(
            _no_target(name), code="route_without_model", retry_after=_NOT_LOADED_RETRY_AFTER
        )
    record.model_key = model.key
    target = model.target
    if target is None:
        raise ModelNotLoaded(
            f"The model '{model.key}' is not loaded. Load it in the console, or with POST /api/v1/models/load "
            f'and the body {{"key": "{model.key}"}}, then try again.',
            param="model",
            retry_after=_NOT_LOADED_RETRY_AFTER,
        )
    if endpoint.capability not in target.capabilities:
        raise _unable(model.key, endpoint, target)
    record.instance_id = target.instance_id
    return target


def _no_target(name: str) -> str:
    if name == CURRENT_ROUTE:
        return (
            "No model is current yet. Make one current in the console or with POST /api/v1/models/switch, "
            "or ask for a loaded model by its key; GET /v1/models lists them."
        )
    return f"The route '{name}' has no model that can be asked. Point it to one in the console, then try again."


def _unable(key: str, endpoint: Endpoint, target: Target) -> InvalidRequest:
    able = ", ".join(sorted(target.capabilities)) or "nothing that is known"
    return InvalidRequest(
        f"The model '{key}' cannot answer at {endpoint.path}: that needs '{endpoint.capability}', and it can do {able}. "
        "Ask another model, or ask this one at another endpoint.",
        code="capability_not_supported",
        param="model",
    )
