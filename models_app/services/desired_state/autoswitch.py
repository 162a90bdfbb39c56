"""Moves routes to the loaded model that performs best, where a policy says so. Off until it is enabled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import InvalidRequest, NoaError, NotFound
from models_app.domain.events import EventName
from models_app.domain.residency.autoswitch import (
    CURVES,
    DEFAULT_WEIGHTS,
    Decision,
    Evidence,
    Policy,
    Rival,
    Standing,
    decide,
)
from models_app.domain.states import ModelStatus
from models_app.models import AutoSwitch, Job, ProfileRun, RegisteredModel
from models_app.services.events import events
from models_app.services.lifecycle import commands
from models_app.services.rollups import live_metrics
from models_app.services.routes import routing

ACTOR = "auto-switch"
# Traffic of the last hour shows how a model performs now; a profile is valid until the model changes.
_WINDOW = "1h"
FIELDS = (
    "enabled",
    "dry_run",
    "capability",
    "weights",
    "threshold",
    "confirmations",
    "cool_down_seconds",
    "min_requests",
)


def get(*, route: str) -> AutoSwitch:
    """The policy of a route; raises NotFound when it has none."""
    found = _rows().filter(route__name=routing.get(name=route).name).first()
    if found is None:
        raise NotFound(
            f"'{route}' has no auto-switch. PUT one to routes/{route}/auto-switch.",
            code="auto_switch_not_found",
            param="name",
        )
    return found


@transaction.atomic
def put(*, route: str, wanted: Mapping[str, Any], actor: str) -> AutoSwitch:
    """Create or replace the policy of a route; confirmations start again from zero.

    Raises NotFound, or InvalidRequest for unknown weights or none above 0.
    """
    weights = wanted.get("weights") or dict(DEFAULT_WEIGHTS)
    unknown = sorted(set(weights) - set(CURVES))
    if unknown or not any(weight > 0 for weight in weights.values()):
        raise InvalidRequest(
            f"'weights' must give one of {', '.join(CURVES)} a weight above 0, and no other names.",
            code="invalid_weights",
            param="weights",
        )
    capability = wanted.get("capability", "chat_completion")
    if capability not in set(Capability):
        raise InvalidRequest(
            f"Unknown capability '{str(capability)[:80]}'. Known: {', '.join(Capability)}.", param="capability"
        )
    row, _ = AutoSwitch.objects.update_or_create(
        route=routing.get(name=route),
        defaults={**wanted, "weights": weights, "leader_key": "", "leader_looks": 0},
    )
    _publish_changed(row, actor, after=represent(row))
    return row


@transaction.atomic
def delete(*, route: str, actor: str) -> None:
    row = get(route=route)
    row.delete()
    _publish_changed(row, actor, after=None)


def represent(row: AutoSwitch) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _publish_changed(row: AutoSwitch, actor: str, after: Any) -> None:
    events.publish(
        name=EventName.AUTO_SWITCH_CHANGED,
        subject=row.route.name,
        message=f"The auto-switch of '{row.route.name}' was {'set' if after else 'removed'}.",
        actor=actor,
        cause="requested",
        after=after,
    )


def decide_all() -> list[Job]:
    """Decide for every enabled policy. Returns the new jobs that move routes; the caller sends them to a worker."""
    queued = []
    for row in _rows().filter(enabled=True):
        decision = decision_of(row=row)
        job = _act(row, decision) if decision.move and not row.dry_run else None
        _record(row, decision, job)
        if job is not None:
            queued.append(job)
    return queued


def _rows() -> QuerySet[AutoSwitch]:
    return AutoSwitch.objects.select_related("route__target")


def decision_of(*, row: AutoSwitch) -> Decision:
    """The decision now. Changes nothing."""
    policy = Policy(
        weights=row.weights or DEFAULT_WEIGHTS,
        threshold=row.threshold,
        confirmations=row.confirmations,
        cool_down_seconds=row.cool_down_seconds,
        min_requests=row.min_requests,
    )
    moved_at = row.moved_at.timestamp() if row.moved_at else None
    standing = Standing(row.leader_key, row.leader_looks, moved_at)
    present = row.route.target
    if present is None:
        why = "The route leads to no model: there is nothing to compare with."
        return Decision(False, "", "no_present", why, Standing(moved_at=moved_at), [])
    now = timezone.now().timestamp()
    return decide(present.key, _rivals(row, present), policy=policy, standing=standing, now=now)


def _rivals(row: AutoSwitch, present: RegisteredModel) -> list[Rival]:
    """Loaded models with the capability, each with the evidence that compares it to the present one."""
    others = RegisteredModel.objects.with_capability(row.capability)
    others = others.filter(status=ModelStatus.LOADED, deprecated=False).exclude(pk=present.pk)
    traffic = {
        model.name: Evidence(
            model.metrics.requests,
            {
                "success_rate": 1 - (model.metrics.error_rate or 0.0),
                "ttft_ms": model.metrics.ttft_ms.p50,
                "e2el_ms": model.metrics.latency_ms.p50,
                "tokens_per_second": model.metrics.tokens_per_second,
            },
        )
        for model in live_metrics.live(window=_WINDOW).models
    }
    return [_rival(present, other, traffic, row.min_requests) for other in others]


def _rival(
    present: RegisteredModel,
    other: RegisteredModel,
    traffic: Mapping[str, Evidence],
    least: int,
) -> Rival:
    """Compare by traffic where both had enough of it, else by the newest profiles of both with the same settings."""
    nothing = Evidence(0, {})
    mine, theirs = traffic.get(other.key, nothing), traffic.get(present.key, nothing)
    if min(mine.requests, theirs.requests) >= least:
        return Rival(other.key, "traffic", mine, theirs)
    for run in _profiles(other):
        for before in _profiles(present).filter(settings_class=run.settings_class):
            common = _common_stage(run, before)
            if common is not None:
                return Rival(other.key, "profiles", *common)
    return Rival(other.key, "profiles", nothing, nothing)


def _profiles(model: RegisteredModel) -> QuerySet[ProfileRun]:
    """The newest complete profiles of the present version; those of an earlier file do not apply."""
    runs = ProfileRun.objects.filter(model=model, version=model.version_id, complete=True)
    return runs.order_by("-started_at")


def _common_stage(run: ProfileRun, before: ProfileRun) -> tuple[Evidence, Evidence] | None:
    """The evidence of the highest concurrency that both profiles measured."""
    mine, theirs = ({stage["concurrency"]: stage for stage in profile.summary["stages"]} for profile in (run, before))
    common = mine.keys() & theirs.keys()
    if not common:
        return None
    return _evidence(mine[max(common)]), _evidence(theirs[max(common)])


def _evidence(stage: Mapping[str, Any]) -> Evidence:
    figures = {
        "success_rate": stage["success_rate"],
        "ttft_ms": stage["ttft_ms"]["p50"],
        "e2el_ms": stage["e2el_ms"]["p50"],
        "tokens_per_second": stage["generation_tokens_per_second"]["p50"],
    }
    return Evidence(stage["requests"], figures)


def _act(row: AutoSwitch, decision: Decision) -> Job | None:
    """The job that moves the route; None when that is not possible now: the next decision retries."""
    try:
        job, created = commands.request_switch(key=decision.to, route=row.route.name, keep_previous=True, actor=ACTOR)
    except NoaError:
        return None
    return job if created else None


@transaction.atomic
def _record(row: AutoSwitch, decision: Decision, job: Job | None) -> None:
    """Store the state of the decisions and publish the event with the numbers, also when nothing changes."""
    standing, moved = decision.standing, job is not None
    outcome = "moved" if moved else "would move" if decision.move else "kept"
    row.leader_key, row.leader_looks = standing.leader, standing.looks
    row.decided_at = timezone.now()
    row.moved_at = row.decided_at if moved else row.moved_at
    row.decision = decision.represent() | {"outcome": outcome}
    row.save(update_fields=["leader_key", "leader_looks", "decided_at", "moved_at", "decision"])
    events.publish(
        name=EventName.AUTO_SWITCH_DECIDED,
        subject=row.route.name,
        message=f"'{row.route.name}': {outcome.replace('moved', f'moves to {decision.to}')}. {decision.why}",
        actor=ACTOR,
        cause="policy",
        job_id=job.pk if job else None,
        data=row.decision | {"dry_run": row.dry_run},
    )
