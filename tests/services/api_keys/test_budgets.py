"""The monthly spending of keys, from the roll-ups of the access log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models_app.domain.errors import Conflict
from models_app.domain.traffic.limits import KeyLimits, Spent
from models_app.management import server
from models_app.models import Activity, Event
from models_app.services.api_keys import budgets, keys
from models_app.services.rollups import rollups
from models_app.services.routes import routing

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def used(key_id: str, at: datetime, model_key: str = "p:m") -> None:
    Activity.objects.create(
        model_key=model_key,
        hour=at,
        key_id=key_id,
        last_at=at,
        requests=1,
        prompt_tokens=10,
        completion_tokens=5,
        cost_usd="0.25",
    )


def test_a_month_is_summed_up_for_each_key() -> None:
    for at in (NOW, NOW - timedelta(days=20)):
        used("a", at)
    used("a", NOW - timedelta(days=29))
    used("b", NOW)
    used("a", NOW, model_key=rollups.ALL)
    assert budgets.spent(key_ids={"a"}, now=NOW) == [Spent("a", "2026-11", 30, 500_000)]
    assert budgets.spent(key_ids=set(), now=NOW) == []


def test_the_gateways_snapshot_holds_own_and_default_limits(settings: Any) -> None:
    settings.NOA_KEY_LIMITS = {"requests_per_minute": 9}
    own, _ = keys.create(
        name="own", scopes=["infer"], actor="t", limits={"requests_per_minute": 0, "max_concurrent": 3}
    )
    plain, _ = keys.create(name="plain", scopes=["infer"], actor="t")
    found = {entry.key_id: entry.limits for entry in routing.snapshot().keys.values()}
    assert found == {
        own.key_id: KeyLimits(max_concurrent=3),
        plain.key_id: KeyLimits(requests_per_minute=9),
    }


def test_a_server_of_several_processes_does_not_start_with_limits_it_cannot_hold(
    settings: Any,
) -> None:
    keys.create(name="own", scopes=["infer"], actor="t", limits={"max_concurrent": 3})
    server.require_exact_limits(1)
    settings.NOA_WEB_PROCESSES, settings.NOA_LIMITS_URL = 2, None
    with pytest.raises(Conflict, match="NOA_REDIS_URL"):
        server.require_exact_limits(2)


@pytest.mark.parametrize("answers", [True, False])
def test_a_store_that_is_lost_and_found_is_told_of(answers: bool) -> None:
    budgets.report_store(answers=answers, why="refused")
    (event,) = Event.objects.all()
    assert event.name == ("limits-restored" if answers else "limits-degraded")
