"""What an unload means for requests: the console, the command line and the REST API state the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings

from models_app.models import RegisteredModel, Route


class Then(StrEnum):
    """What happens to requests after an unload, the worst of all ways to the model."""

    # The next one loads the model again, if its API key may.
    LOADED_AGAIN = "loaded_again"
    # A fallback of the route answers.
    FALLBACK = "fallback"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Consequence:
    """`affects_routes` are the names of the routes that lead to the model."""

    affects_routes: tuple[str, ...]
    then: Then
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "affects_routes": list(self.affects_routes),
            "then": self.then.value,
            "consequence": " ".join(self.sentences),
        }


def of_unload(*, model: RegisteredModel) -> Consequence:
    """The consequence of unloading all copies of a model."""
    routes = list(model.routes.all())
    # As the gateway's snapshot has it.
    again = settings.NOA_ON_DEMAND and model.on_demand and model.gone_at is None and model.provider.enabled
    thens = [_of_route(route, again) for route in routes] or [Then.LOADED_AGAIN if again else Then.REFUSED]
    sentences = [_sentence(f"the route '{route.name}'", then) for route, then in zip(routes, thens, strict=False)]
    if not routes:
        sentences = [_sentence("it", thens[0])]
    worst = max(thens, key=list(Then).index)
    return Consequence(tuple(route.name for route in routes), worst, tuple(sentences))


def _of_route(route: Route, again: bool) -> Then:
    if again and route.load_on_demand:
        return Then.LOADED_AGAIN
    return Then.FALLBACK if route.fallbacks else Then.REFUSED


def _sentence(subject: str, then: Then) -> str:
    return {
        Then.LOADED_AGAIN: f"The next request for {subject} loads it again, if the request's API key may load models.",
        Then.FALLBACK: f"Requests for {subject} go to its fallbacks.",
        Then.REFUSED: f"Requests for {subject} are refused until it is loaded again.",
    }[then]
