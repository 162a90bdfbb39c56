"""Loaded models as targets of probes and profiles."""

from __future__ import annotations

from importlib.metadata import version

from models_app.domain.errors import Conflict
from models_app.domain.states import InstanceState
from models_app.domain.traffic.routing import Target
from models_app.models import Instance, RegisteredModel
from models_app.services.routes import routing


def require_loaded(*, model: RegisteredModel) -> Instance:
    """The ready instance of a model; raises Conflict when there is none."""
    instance = Instance.objects.filter(model=model, state=InstanceState.READY).select_related("version").first()
    if instance is None:
        raise Conflict(
            f"'{model.key}' is not loaded. Load it first: only a loaded model answers requests.",
            code="model_not_loaded",
            param="key",
        )
    return instance


def loaded(*, model: RegisteredModel) -> tuple[Instance, Target]:
    """The ready instance, and the gateway's target for it; raises Conflict when there is none."""
    instance = require_loaded(model=model)
    target = routing.target(model=model)
    if target is None:
        raise Conflict(
            f"'{model.key}' was unloaded just now. Load it, then retry.",
            code="model_not_loaded",
            param="key",
        )
    return instance, target


def engine_of(target: Target) -> str:
    """The name of the engine behind a target, with its version if it runs here."""
    if target.remote is not None:
        return f"{target.remote.provider} ({target.remote.kind})"
    return f"llama-cpp-python {version('llama-cpp-python')}"
