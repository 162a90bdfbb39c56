"""The first phase of a request: from its `model` field to the runner or provider that serves it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from models_app.domain.errors import InvalidRequest, ModelNotFound, ModelNotLoaded
from models_app.domain.records.access import AccessRecord
from models_app.domain.residency import suspects
from models_app.domain.residency.demand import UNKNOWN_RETRY_AFTER, ColdModel
from models_app.domain.residency.suspects import Death, OnTrial, Trials
from models_app.domain.traffic.routing import CURRENT_ROUTE, KeyEntry, ModelEntry, Snapshot, Target
from models_app.gateway.http.request_body import loggable
from models_app.gateway.routing.inference import Endpoint, Inference
from models_app.gateway.routing.least_busy import LeastBusy
from models_app.gateway.routing.model_loader import ModelLoader


class ModelUnable(InvalidRequest):
    """The model lacks the capability that the endpoint needs."""

    default_code = "capability_not_supported"


class Resolver:
    """Shared by all requests of a process. Never waits: `searching.Search` does."""

    def __init__(self, loader: ModelLoader, least_busy: LeastBusy) -> None:
        self._loader = loader
        self._least_busy = least_busy

    def resolve(self, snapshot: Snapshot, inference: Inference) -> Target:
        """The target of one request, of several copies the least busy; writes what it resolves into the record.

        Raises ModelNotFound, ModelNotLoaded, ColdModel, OnTrial, ModelUnable or KillsRunner.
        """
        call, name = inference.call, inference.body.model
        record = call.record
        found = snapshot.resolve(name)
        # One answer for both: a bound key cannot find out which other names exist. The route is not recorded: its
        # fallbacks would be tried.
        if found is None or (call.key.allowed_models and not may_use(call.key, found.route, found.model)):
            record.requested_model = loggable(name)
            raise _unknown(name)
        record.requested_model = name
        record.route = found.route or ""
        model = found.model
        if model is None:
            raise ModelNotLoaded(_no_target(name), code="route_without_model", retry_after=UNKNOWN_RETRY_AFTER)
        target = target_of(model, inference.endpoint, record)
        if snapshot.killers:
            _refuse_killer(snapshot.killers.get(target.key), inference, target.key)
        if snapshot.trials and inference.death is None and inference.patience:
            self._join_trial(snapshot.trials.get(target.key), inference, target.key)
        return target if target.copies == 1 else self.least_busy(target, snapshot, record)

    def least_busy(self, target: Target, snapshot: Snapshot, record: AccessRecord) -> Target:
        """The least busy copy of the model of `target`."""
        entry = snapshot.models.get(target.key)
        if entry is None or entry.target is None or not entry.others:
            return target
        picked = self._least_busy.pick((entry.target, *entry.others))
        record_target(picked, record)
        return picked

    def _join_trial(self, trials: Trials | None, inference: Inference, key: str) -> None:
        """Raises OnTrial for a request with the content of a suspect, which waits for the result of its trial."""
        if trials is None or trials.until < time.time():
            return
        digest = inference.digest()
        crashed = trials.crashed.get(digest)
        if crashed is not None:
            inference.death = Death(key, crashed, digest, inference.call.record.request_id)
            self._loader.join(inference.death)
            raise OnTrial(key)


def may_use(key: KeyEntry, route: str | None, model: ModelEntry | None) -> bool:
    """Whether the API key allows this route, or, for a request without one, this model.

    A key for a route can use its target through that route only: a route can be moved to any model.
    """
    allowed = key.allowed_models
    if not allowed:
        return True
    if route is not None:
        return route in allowed
    return model is not None and (model.key in allowed or f"{model.provider}:*" in allowed)


def target_of(model: ModelEntry, endpoint: Endpoint, record: AccessRecord) -> Target:
    """The model's loaded target. Raises ColdModel when there is none, ModelUnable without the endpoint's capability."""
    record.model_key = model.key
    record.provider = model.provider
    target = model.target
    if target is None:
        if model.capabilities and endpoint.capability not in model.capabilities:
            raise _unable(model.key, endpoint, model.capabilities)
        raise ColdModel(model.key)
    # The capabilities of many remote models are unknown: their provider decides.
    if endpoint.capability not in target.capabilities and (target.capabilities or target.remote is None):
        raise _unable(model.key, endpoint, target.capabilities)
    record_target(target, record)
    return target


def record_target(target: Target, record: AccessRecord) -> None:
    """Writes the instance, version and node of the target into the record."""
    record.instance_id = target.instance_id
    record.version = target.version
    record.node = target.node


def _refuse_killer(killers: Mapping[str, float] | None, inference: Inference, key: str) -> None:
    """Raises KillsRunner for a request that crashes the runner of this model each time."""
    if not killers:
        return
    until = killers.get(inference.digest())
    if until is not None and until > time.time():
        raise suspects.refusal(key)


def _unknown(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"There is no route, model key or short name '{name[:100]}' for this API key. GET /v1/models lists "
        "the names that it can use.",
        param="model",
    )


def _no_target(name: str) -> str:
    if name == CURRENT_ROUTE:
        return (
            "No model is current yet. Make one current in the console or with POST /api/v1/models/switch, "
            "or name a loaded model by its key; GET /v1/models lists them."
        )
    return f"The route '{name}' has no target model. Set one in the console, then try again."


def _unable(key: str, endpoint: Endpoint, capabilities: frozenset[str]) -> ModelUnable:
    able = ", ".join(sorted(capabilities)) or "none known"
    return ModelUnable(
        f"The model '{key}' cannot serve {endpoint.path}, which needs the capability '{endpoint.capability}'. It has: "
        f"{able}. Use another model, or another endpoint.",
        param="model",
    )
