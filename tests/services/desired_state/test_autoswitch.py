"""Automatic switches of routes: comparison, events and moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.states import InstanceState, JobKind, ModelStatus
from models_app.domain.windows import WINDOWS
from models_app.models import (
    AutoSwitch,
    Event,
    Instance,
    ModelVersion,
    ProfileRun,
    RegisteredModel,
    Traffic,
)
from models_app.services.desired_state import autoswitch
from models_app.services.routes import routes
from tests.services.served import registered_model

pytestmark = pytest.mark.django_db

ROUTE = "chat"


def ready(model_id: str) -> RegisteredModel:
    model = registered_model(model_id)
    version = ModelVersion.objects.get(model=model)
    Instance.objects.create(model=model, version=version, node="local", state=InstanceState.READY)
    RegisteredModel.objects.filter(pk=model.pk).update(status=ModelStatus.LOADED)
    model.refresh_from_db()
    return model


def profiled(model: RegisteredModel, *, speed: float, requests: int = 40, asked: str = "x") -> None:
    stage = {
        "concurrency": 1,
        "requests": requests,
        "success_rate": 1.0,
        "ttft_ms": {"p50": 100.0},
        "e2el_ms": {"p50": 1000.0},
        "generation_tokens_per_second": {"p50": speed},
    }
    ProfileRun.objects.create(
        model=model,
        version=model.version,
        complete=True,
        settings_class=asked,
        summary={"stages": [stage]},
        finished_at=timezone.now(),
    )


def asked(model: RegisteredModel, *, errors: int, requests: int = 100) -> None:
    step = WINDOWS["1h"].step
    start = step.floor(timezone.now())
    Traffic.objects.create(
        step=step,
        start=start,
        model_key=model.key,
        route=ROUTE,
        requests=requests,
        errors=errors,
        last_at=timezone.now(),
        duration_ms=requests * 100.0,
        timed_tokens=1000,
        generation_ms=10_000.0,
        durations={"20": requests},
        ttfts={"10": requests},
    )


@pytest.fixture
def two() -> Iterator[tuple[RegisteredModel, RegisteredModel]]:
    slow, fast = ready("slow"), ready("fast")
    routes.create(name=ROUTE, target=slow.key, actor="test")
    yield slow, fast


def policy(**wanted: Any) -> AutoSwitch:
    given = {"enabled": True, "confirmations": 1} | wanted
    return autoswitch.put(route=ROUTE, wanted=given, actor="test")


def told() -> dict[str, Any]:
    return dict(Event.objects.filter(name="auto-switch-decided").latest("pk").data)


def test_a_route_moves_to_the_model_whose_profile_is_better(
    two: tuple[RegisteredModel, RegisteredModel],
) -> None:
    slow, fast = two
    profiled(slow, speed=5)
    profiled(fast, speed=100)
    policy()
    (job,) = autoswitch.decide_all()
    assert (job.kind, job.subject, job.actor) == (JobKind.SWITCH, ROUTE, "auto-switch")
    assert job.arguments == {"key": fast.key, "keep_previous": True}
    decision = told()
    assert (decision["outcome"], decision["scores"][0]["basis"]) == ("moved", "profiles")
    assert decision["scores"][0]["lead"] > 0.15


def test_traffic_goes_before_profiles(two: tuple[RegisteredModel, RegisteredModel]) -> None:
    slow, fast = two
    profiled(slow, speed=5)
    profiled(fast, speed=100)
    asked(slow, errors=0)
    asked(fast, errors=90)
    policy(weights={"success_rate": 1})
    assert autoswitch.decide_all() == []
    assert told()["scores"][0]["basis"] == "traffic"
    assert (told()["outcome"], told()["reason"]) == ("kept", "below_threshold")


def test_profiles_of_different_work_are_not_compared(
    two: tuple[RegisteredModel, RegisteredModel],
) -> None:
    slow, fast = two
    profiled(slow, speed=5, asked="x")
    profiled(fast, speed=100, asked="y")
    policy()
    assert autoswitch.decide_all() == []
    assert told()["reason"] == "not_enough_data"


def test_a_profile_of_an_earlier_version_says_nothing(
    two: tuple[RegisteredModel, RegisteredModel],
) -> None:
    slow, fast = two
    profiled(slow, speed=5)
    profiled(fast, speed=100)
    ProfileRun.objects.filter(model=fast).update(version=None)
    policy()
    assert autoswitch.decide_all() == []
    assert told()["reason"] == "not_enough_data"


def test_a_dry_run_tells_and_moves_nothing(two: tuple[RegisteredModel, RegisteredModel]) -> None:
    slow, fast = two
    profiled(slow, speed=5)
    profiled(fast, speed=100)
    row = policy(dry_run=True)
    assert autoswitch.decide_all() == []
    assert (told()["outcome"], told()["dry_run"]) == ("would move", True)
    row.refresh_from_db()
    assert row.moved_at is None


def test_looks_in_a_row_are_counted_in_the_row(
    two: tuple[RegisteredModel, RegisteredModel],
) -> None:
    slow, fast = two
    profiled(slow, speed=5)
    profiled(fast, speed=100)
    row = policy(confirmations=2)
    assert autoswitch.decide_all() == []
    row.refresh_from_db()
    assert (row.leader_key, row.leader_looks) == (fast.key, 1)
    assert len(autoswitch.decide_all()) == 1


def test_nothing_is_looked_at_until_it_is_enabled(
    two: tuple[RegisteredModel, RegisteredModel],
) -> None:
    policy(enabled=False)
    assert autoswitch.decide_all() == []
    assert not Event.objects.filter(name="auto-switch-decided").exists()


def test_a_route_without_a_target_stays_so(two: tuple[RegisteredModel, RegisteredModel]) -> None:
    row = policy()
    row.route.target = None
    row.route.save()
    assert autoswitch.decide_all() == []
    assert told()["reason"] == "no_present"


@pytest.mark.parametrize("weights", [{"speed": 1}, {"ttft_ms": 0}])
def test_weights_must_count_something_that_is_measured(
    two: tuple[RegisteredModel, RegisteredModel], weights: dict[str, float]
) -> None:
    with pytest.raises(InvalidRequest):
        policy(weights=weights)


def test_a_rule_can_be_taken_away(two: tuple[RegisteredModel, RegisteredModel]) -> None:
    policy()
    autoswitch.delete(route=ROUTE, actor="test")
    with pytest.raises(NotFound):
        autoswitch.get(route=ROUTE)
