"""Estimates a load before its job is created, with the same decision that the load itself gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import NoaError
from models_app.domain.events import EventName
from models_app.domain.residency.admission import (
    Candidate,
    Evict,
    Fits,
    LoadRequest,
    Memory,
    Node,
    Refuse,
    Wait,
    decide,
)
from models_app.domain.residency.ledger import (
    FactEvent,
    Figures,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
    cause_of,
)
from models_app.domain.states import InstanceState
from models_app.models import ModelVersion, RegisteredModel
from models_app.services.catalog import ledger
from models_app.services.lifecycle import admission, predictions
from models_app.services.lifecycle.predictions import Prediction
from models_app.services.providers import providers
from models_app.services.runners import instances

# The time until an ended runner's memory is free again (measured: 0.1 to 0.3 s).
_EVICTION_SECONDS = 0.3
# The time of a check at a provider that it has a model.
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`verdict` is loaded, fits, would_evict, would_wait, refused or unknown; memory in bytes.

    `options` are those requested or, with `fit`, the largest that fit. `largest_context` is the context with which a
    refused load would fit.
    """

    key: str
    verdict: str
    options: LoadOptions
    eta_seconds: float | None
    need: Memory = Memory()
    free: Memory = Memory()
    most: Memory = Memory()
    context_tokens: int | None = None
    measured: bool = False
    why: str = ""
    largest_context: int | None = None
    would_evict: Sequence[Candidate] = ()
    others: Sequence[Candidate] = ()
    refusal: NoaError | None = None

    def represent(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "verdict": self.verdict,
            "why": self.why,
            "options": self.options.as_dict(),
            "context_tokens": self.context_tokens,
            "needs_bytes": self.need.ram,
            "needs_gpu_bytes": self.need.vram,
            "free_bytes": max(0, self.free.ram),
            "free_after_evicting_bytes": max(0, self.most.ram),
            "would_evict": [candidate.as_dict() for candidate in self.would_evict],
            "others": [candidate.as_dict() for candidate in self.others],
            "largest_context": self.largest_context,
            "eta_seconds": None if self.eta_seconds is None else round(self.eta_seconds, 2),
            "measured": self.measured,
        }


def estimate(*, model: RegisteredModel, options: LoadOptions, fit: bool = False) -> Estimate:
    """Estimate a load in a few milliseconds; changes and starts nothing."""
    serving = instances.serving(model=model)
    if serving is not None and serving.state == InstanceState.READY:
        return Estimate(model.key, "loaded", LoadOptions.parse(serving.options), 0.0)
    if providers.is_remote(model.provider) or model.version is None:
        return Estimate(model.key, "fits", options, _CONNECT_SECONDS)
    version = model.version
    if not version.header:
        return Estimate(model.key, "unknown", options, None, why="Its file has not been read yet.")
    chosen = LoadOptions.parse(model.load_options) if options.is_empty else options
    found = _of_file(model, version, chosen)
    if fit and found.largest_context:
        return _of_file(model, version, replace(chosen, n_ctx=found.largest_context))
    return found


def check(*, model: RegisteredModel, options: LoadOptions, fit: bool, actor: str) -> LoadOptions:
    """The options to load with. Raises InsufficientMemory, and records it, for a load that cannot fit."""
    found = estimate(model=model, options=options, fit=fit)
    if found.refusal is not None:
        _record_refusal(found, found.refusal, actor)
        raise found.refusal
    return found.options if fit and found.context_tokens else options


def _of_file(model: RegisteredModel, version: ModelVersion, options: LoadOptions) -> Estimate:
    spec = predictions.spec_for(version=version, options=options)
    prediction = predictions.predict(version=version, spec=spec)
    request = LoadRequest(model.key, prediction.memory, priority=model.priority)
    here = admission.observe(query_runners=True)
    decision = decide(request, here)
    known = Estimate(
        key=model.key,
        verdict="fits",
        options=options,
        eta_seconds=prediction.seconds,
        need=prediction.memory,
        free=here.free,
        most=_most(here),
        context_tokens=spec.n_ctx,
        measured=prediction.measured,
        others=decision.candidates,
    )
    if isinstance(decision, Fits):
        return known
    if isinstance(decision, Refuse):
        largest = None
        if not request.need.fits_into(decision.most):
            largest = predictions.largest_context(version=version, spec=spec, room=decision.most)
        refusal = admission.refusal(request, decision, largest_context=largest)
        return replace(
            known,
            verdict="refused",
            eta_seconds=None,
            most=decision.most,
            why=refusal.message,
            largest_context=largest,
            refusal=refusal,
        )
    return _later(known, decision, here, prediction)


def _later(known: Estimate, decision: Evict | Wait, here: Node, prediction: Prediction) -> Estimate:
    if isinstance(decision, Wait):
        # When a busy model becomes idle is unknown; its minimum residency is known.
        stays = max((resident.residency_left for resident in here.residents), default=0.0)
        seconds = prediction.seconds + stays + _EVICTION_SECONDS
        return replace(known, verdict="would_wait", why=decision.why, eta_seconds=seconds)
    gone = {victim.instance_id for victim in decision.victims}
    going = [candidate for candidate in decision.candidates if candidate.resident.instance_id in gone]
    return replace(
        known,
        verdict="would_evict",
        would_evict=going,
        others=[candidate for candidate in decision.candidates if candidate not in going],
        eta_seconds=prediction.seconds + len(going) * _EVICTION_SECONDS,
    )


def _most(here: Node) -> Memory:
    most = here.free
    for resident in here.residents:
        if not resident.pinned:
            most += resident.memory
    return most


def _record_refusal(found: Estimate, error: NoaError, actor: str) -> None:
    event = FactEvent(
        EventName.LOAD_REFUSED,
        f"{found.key} was not loaded: there is no memory for it.",
        cause=error.code,
        data={"code": error.code, "reason": error.message} | error.details,
    )
    fact = LifecycleFact(
        LedgerKind.REFUSAL,
        found.key,
        LedgerOutcome.REFUSED,
        Origin(cause_of(actor), actor),
        reason=error.message,
        candidates=[candidate.as_dict() for candidate in found.others],
        figures=Figures(predicted_bytes=found.need.ram),
        event=event,
    )
    ledger.record(fact)
