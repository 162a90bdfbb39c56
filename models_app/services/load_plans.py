"""What a load of a local model would take and do to others, before anybody asks for it. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.admission import Decision, Memory, Wish
from models_app.domain.options import LoadOptions
from models_app.models import RegisteredModel
from models_app.services import admission, predictions, providers


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`need` and `free` are bytes; `measured` says whether such a load has been measured on this node."""

    need: Memory
    free: Memory
    seconds: float
    measured: bool
    decision: Decision


def plan(
    *, model: RegisteredModel, options: LoadOptions, spared: frozenset[str] = frozenset()
) -> LoadPlan | None:
    """Of this node; None for a model of a provider, which takes no memory here, or whose file was not read. `spared` models stay."""
    version = model.version
    if version is None or not version.header or providers.is_remote(model.provider):
        return None
    spec = predictions.spec_for(version=version, options=options)
    prediction = predictions.predict(version=version, spec=spec)
    wish = Wish(model.key, prediction.memory, priority=model.priority, spared=spared)
    return LoadPlan(
        need=prediction.memory,
        free=admission.look(ask=False).free,
        seconds=prediction.seconds,
        measured=prediction.measured,
        decision=admission.assess(wish),
    )
