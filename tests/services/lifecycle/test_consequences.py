"""What an unload means for requests: every combination of the switches that decide about loads on demand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from models_app.models import RegisteredModel, Route
from models_app.services.lifecycle import consequences
from models_app.services.lifecycle.consequences import Then

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "llama.cpp:a"


@pytest.mark.parametrize(
    ("server", "model", "route", "fallback"), list(itertools.product([True, False], repeat=4)), ids=str
)
def test_every_combination(
    two_models: Path, settings: Any, server: bool, model: bool, route: bool, fallback: bool
) -> None:
    settings.NOA_ON_DEMAND = server
    found = RegisteredModel.objects.get(key=KEY)
    found.on_demand = model
    found.save()
    fallbacks = ["llama.cpp:b"] if fallback else []
    Route.objects.create(name="team", target=found, load_on_demand=route, fallbacks=fallbacks)
    told = consequences.of_unload(model=found)
    again = server and model and route
    assert told.then == (Then.LOADED_AGAIN if again else Then.FALLBACK if fallback else Then.REFUSED)
    assert told.affects_routes == ("team",)
    assert len(told.sentences) == 1 and "'team'" in told.sentences[0]


def test_the_worst_route_decides_and_each_has_a_sentence(two_models: Path) -> None:
    found = RegisteredModel.objects.get(key=KEY)
    Route.objects.create(name="a", target=found)
    Route.objects.create(name="b", target=found, load_on_demand=False)
    told = consequences.of_unload(model=found)
    assert (told.then, told.affects_routes, len(told.sentences)) == (Then.REFUSED, ("a", "b"), 2)
