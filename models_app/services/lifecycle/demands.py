"""What a route was asked for, and which of that another model could not answer."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from django.db.models import Count
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import Conflict
from models_app.models import AccessLog, RegisteredModel, Route

_SINCE = timedelta(days=1)
_NEEDED = {
    "chat/completions": Capability.CHAT_COMPLETION,
    "messages": Capability.CHAT_COMPLETION,
    "responses": Capability.CHAT_COMPLETION,
    "completions": Capability.TEXT_GENERATION,
    "embeddings": Capability.EMBEDDINGS,
}

_WORDS = {
    Capability.CHAT_COMPLETION: "chat",
    Capability.TEXT_GENERATION: "completions",
    Capability.EMBEDDINGS: "embeddings",
}


def unmet(*, model: RegisteredModel, route: Route) -> Counter[Capability]:
    """The requests that the route answered in the last day and that this model could not answer, by what they need.

    Empty for a model of which no capability is known.
    """
    if not model.capabilities:
        return Counter()
    answered = AccessLog.objects.filter(route=route.name, started_at__gte=timezone.now() - _SINCE, status__lt=400)
    found: Counter[Capability] = Counter()
    for endpoint, count in answered.values_list("endpoint").annotate(count=Count("id")):
        needed = _NEEDED.get(endpoint)
        if needed is not None and needed not in model.capabilities:
            found[needed] += count
    return found


def sentence(*, model: RegisteredModel, route: Route, found: Counter[Capability]) -> str:
    what = " and ".join(f"{count:,} requests for {_WORDS[needed]}" for needed, count in found.most_common())
    return f"In the last day '{route.name}' answered {what}, which '{model.key}' cannot answer."


def check(*, model: RegisteredModel, route: Route) -> None:
    """Raises Conflict if the route would stop to answer what it was asked for."""
    if found := unmet(model=model, route=route):
        raise Conflict(
            f"{sentence(model=model, route=route, found=found)} Choose another model, or set 'force'.",
            code="model_cannot_answer",
            param="force",
            details={"requests": {needed.value: count for needed, count in found.items()}},
        )
