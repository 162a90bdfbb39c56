"""Records requests that were in flight when their runner died, and determines which ones are refused."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain.residency import suspects as rules
from models_app.domain.residency.suspects import Death, Trials
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState
from models_app.models import Instance, RegisteredModel, Suspect


def record(*, death: Death) -> bool:
    """Record that a runner ended with this request in flight. True when the request can be refused from now on.

    A later check determines whether the runner crashed.
    """
    model = RegisteredModel.objects.select_related("version").filter(key=death.key).first()
    if model is None:
        return False
    try:
        with transaction.atomic():
            Suspect.objects.create(
                model=model,
                digest=death.digest,
                version=_version_of(model),
                instance_id=death.instance_id,
                request_id=death.request_id[:64],
            )
    except IntegrityError:
        return False  # two requests with the same text were in flight
    return Suspect.objects.filter(model=model, digest=death.digest).count() >= rules.CRASHES


def may_retry(*, death: Death) -> bool:
    """Whether the request can be retried now; False until the end of its runner is recorded.

    After a crash suspects are retried one by one, across all processes: otherwise innocent requests would share a
    runner with the one that caused it again.
    """
    instance = Instance.objects.filter(pk=death.instance_id).first()
    if instance is None:
        return True
    if instance.state in LIVE_INSTANCE_STATES:
        return False
    if not rules.is_crash(instance.failure_reason):
        return True
    since = timezone.now() - timedelta(seconds=rules.TRIAL_SECONDS)
    waiting = Suspect.objects.filter(model=instance.model_id, on_trial=True, at__gt=since)
    first = waiting.order_by("pk").values_list("digest", flat=True).first()
    return first in (None, death.digest)


def close(*, death: Death, survived: bool) -> None:
    """End the trial of a request that was retried, or never will be. If its runner survived, clear the suspicion."""
    rows = Suspect.objects.filter(model__key=death.key, digest=death.digest)
    if survived:
        rows.delete()
    else:
        rows.filter(instance_id=death.instance_id).update(on_trial=False)


def delete_expired() -> None:
    """Delete suspicions that are too old to count."""
    Suspect.objects.filter(at__lte=_since()).delete()


@dataclass(frozen=True, slots=True)
class Suspicions:
    """The suspicions by the model's key.

    killers  the digests of refused requests, and the end of the refusal (Unix seconds)
    trials   requests that are retried one by one
    """

    killers: dict[str, dict[str, float]]
    trials: dict[str, Trials]


def suspicions() -> Suspicions:
    rows = (
        Suspect.objects.filter(at__gt=_since())
        .select_related("model__version")
        .only(
            "digest",
            "instance_id",
            "version",
            "on_trial",
            "at",
            "model__key",
            "model__version__sha256",
        )
        .order_by("pk")
    )
    found = [row for row in rows if _version_of(row.model) == row.version]
    crashed = _crashed({row.instance_id for row in found}) if found else set()
    of_crashes = [row for row in found if row.instance_id in crashed]
    return Suspicions(_killers(of_crashes), _trials(of_crashes))


def _killers(rows: list[Suspect]) -> dict[str, dict[str, float]]:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        times[row.model.key, row.digest].append(row.at.timestamp())
    refused: dict[str, dict[str, float]] = defaultdict(dict)
    for (key, digest), moments in times.items():
        until = rules.refused_until(moments)
        if until is not None:
            refused[key][digest] = until
    return dict(refused)


def _trials(rows: list[Suspect]) -> dict[str, Trials]:
    since = timezone.now() - timedelta(seconds=rules.TRIAL_SECONDS)
    found: dict[str, list[Suspect]] = defaultdict(list)
    for row in rows:
        if row.on_trial and row.at > since:
            found[row.model.key].append(row)
    return {
        key: Trials(
            until=max(row.at for row in held).timestamp() + rules.TRIAL_SECONDS,
            crashed={row.digest: str(row.instance_id) for row in held},
        )
        for key, held in found.items()
    }


def _crashed(instance_ids: set[uuid.UUID]) -> set[uuid.UUID]:
    failed = Instance.objects.filter(pk__in=instance_ids, state=InstanceState.FAILED)
    reasons = failed.values_list("pk", "failure_reason")
    return {instance_id for instance_id, reason in reasons if rules.is_crash(reason)}


def _version_of(model: RegisteredModel) -> str:
    return model.version.sha256 if model.version else ""


def _since() -> datetime:
    return timezone.now() - timedelta(seconds=rules.FORGOTTEN_SECONDS)
