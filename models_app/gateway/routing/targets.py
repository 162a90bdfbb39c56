"""Which runner or provider a request means, who may ask it, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelNotLoaded,
    PermissionDenied,
)
from models_app.domain.records.access import AccessRecord
from models_app.domain.residency.demand import (
    EVERYTHING,
    NOTHING,
    UNKNOWN_RETRY_AFTER,
    ColdModel,
    Permission,
)
from models_app.domain.traffic.routing import CURRENT_ROUTE, KeyEntry, ModelEntry, Snapshot, Target
from models_app.gateway.dialects.dialects import Dialect
from models_app.gateway.http.request_body import loggable


class ModelUnable(InvalidRequest):
    """The model cannot do what the endpoint asks."""

    default_code = "capability_not_supported"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One inference path: what a model must be able to do to be asked there.

    dialect  of its requests and answers; None is OpenAI's, which runners speak
    """

    name: str
    path: str
    capability: Capability
    dialect: Dialect | None = None

    def head(self) -> bytes:
        """The part of the request to a runner that never changes."""
        path = "/v1/chat/completions" if self.dialect else self.path
        return (
            f"POST {path} HTTP/1.1\r\nHost: runner\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nX-Request-ID: "
        ).encode("ascii")


def choose(snapshot: Snapshot, endpoint: Endpoint, name: str, record: AccessRecord, key: KeyEntry) -> Target:
    """The target that `name` means; notes in the record what was found on the way.

    Raises ModelNotFound, ModelNotLoaded, ColdModel, PermissionDenied or ModelUnable.
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
    if key.allowed_models and not may_ask(key, resolution.route, model):
        raise PermissionDenied(
            f"This API key may not ask for '{name}'. GET /v1/models lists the names that it may ask for.",
            code="model_not_allowed",
            param="model",
        )
    if model is None:
        raise ModelNotLoaded(_no_target(name), code="route_without_model", retry_after=UNKNOWN_RETRY_AFTER)
    return target_of(model, endpoint, record)


def permission_of(snapshot: Snapshot, key: str, route: str, asking: KeyEntry) -> Permission:
    """What a request may cause for the model `key`: what the model, the route and the API key all allow."""
    model = snapshot.models.get(key)
    if model is None:
        return NOTHING
    return model.permission & snapshot.permissions.get(route, EVERYTHING) & asking.permission


def may_ask(key: KeyEntry, route: str | None, model: ModelEntry | None) -> bool:
    """Whether the key is for this route, or, when none was asked for, for this model.

    Who may ask a route may ask what it leads to, and nothing else: a route can be moved to any model.
    """
    allowed = key.allowed_models
    if not allowed:
        return True
    if route is not None:
        return route in allowed
    return model is not None and (model.key in allowed or f"{model.provider}:*" in allowed)


def target_of(model: ModelEntry, endpoint: Endpoint, record: AccessRecord) -> Target:
    """Raises ColdModel or ModelUnable."""
    record.model_key = model.key
    record.provider = model.provider
    target = model.target
    if target is None:
        if model.capabilities and endpoint.capability not in model.capabilities:
            raise _unable(model.key, endpoint, model.capabilities)
        raise ColdModel(model.key)
    # Of many remote models nobody knows what they can do: their provider will say.
    if endpoint.capability not in target.capabilities and (target.capabilities or target.remote is None):
        raise _unable(model.key, endpoint, target.capabilities)
    note_target(target, record)
    return target


def note_target(target: Target, record: AccessRecord) -> None:
    """In the record: what answers, and where."""
    record.instance_id = target.instance_id
    record.version = target.version
    record.node = target.node


def _no_target(name: str) -> str:
    if name == CURRENT_ROUTE:
        return (
            "No model is current yet. Make one current in the console or with POST /api/v1/models/switch, "
            "or ask for a loaded model by its key; GET /v1/models lists them."
        )
    return f"The route '{name}' has no model that can be asked. Point it to one in the console, then try again."


def _unable(key: str, endpoint: Endpoint, capabilities: frozenset[str]) -> ModelUnable:
    able = ", ".join(sorted(capabilities)) or "nothing that is known"
    return ModelUnable(
        f"The model '{key}' cannot answer at {endpoint.path}: that needs '{endpoint.capability}', and it can do {able}. "
        "Ask another model, or ask this one at another endpoint.",
        param="model",
    )
