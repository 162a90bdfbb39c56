"""Records requests that were in flight when their runner died, and determines which ones are refused."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain.residency import suspects as rules
from models_app.domain.residency.suspects import Death, End, Trials
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState
from models_app.models import Instance, RegisteredModel, Suspect

# By which the clocks of machines differ, at most.
_CLOCKS_DIFFER_BY = timedelta(seconds=5)


def record(*, death: Death) -> bool:
    """Record that a runner ended with this request in flight. True when the request can be refused from now on.

    A later check determines whether the runner crashed.
    """
    model = RegisteredModel.objects.select_related("version").filter(key=death.key).first()
    if model is None:
        return False
    ends = _ends([death.instance_id])
    certain = any(rules.weight(end, death.request_id) >= rules.CRASHES for end in ends.values())
    try:
        with transaction.atomic():
            Suspect.objects.create(
                model=model,
                digest=death.digest,
                version=_version_of(model),
                instance_id=death.instance_id,
                request_id=death.request_id[:64],
                on_trial=not certain,
            )
    except IntegrityError:
        # Two requests with the same content were in flight.
        same = Suspect.objects.filter(digest=death.digest, instance_id=death.instance_id)
        return certain and bool(same.update(request_id=death.request_id[:64], on_trial=False))
    return certain or Suspect.objects.filter(model=model, digest=death.digest).count() >= rules.CRASHES


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
    weight = rules.weight(End(instance.failure_reason, instance.hung_requests), death.request_id)
    if weight != 1:
        # Harmless, or refused with the next snapshot.
        return weight == 0
    since = timezone.now() - timedelta(seconds=rules.TRIAL_SECONDS)
    waiting = Suspect.objects.filter(model=instance.model_id, on_trial=True, at__gt=since)
    first = waiting.order_by("pk").values_list("digest", flat=True).first()
    return first in (None, death.digest)


def close(*, death: Death, survived: bool) -> bool:
    """End the trial of a request that was retried, or never will be. If its runner survived, clear the suspicion.

    True when something changed, so that the snapshot is outdated.
    """
    rows = Suspect.objects.filter(model__key=death.key, digest=death.digest)
    if survived:
        return bool(rows.delete()[0])
    return bool(rows.filter(instance_id=death.instance_id, on_trial=True).update(on_trial=False))


def delete_expired() -> bool:
    """Delete suspicions that are too old to count.

    Those of the future were recorded before the clock was set back, and count from now. True if there were any, so
    that the snapshot is outdated.
    """
    Suspect.objects.filter(at__lte=_since()).delete()
    now = timezone.now()
    return bool(Suspect.objects.filter(at__gt=now + _CLOCKS_DIFFER_BY).update(at=now))


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
            "request_id",
            "version",
            "on_trial",
            "at",
            "model__key",
            "model__version__sha256",
        )
        .order_by("pk")
    )
    found = [row for row in rows if _version_of(row.model) == row.version]
    ends = _ends(row.instance_id for row in found) if found else {}
    weighed = [(row, rules.weight(ends[row.instance_id], row.request_id)) for row in found if row.instance_id in ends]
    return Suspicions(_killers(weighed), _trials([row for row, weight in weighed if weight == 1]))


def _killers(rows: list[tuple[Suspect, int]]) -> dict[str, dict[str, float]]:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, weight in rows:
        times[row.model.key, row.digest] += weight * [row.at.timestamp()]
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


def _ends(instance_ids: Iterable[uuid.UUID | str]) -> dict[uuid.UUID, End]:
    """The ends of those runners that have failed."""
    failed = Instance.objects.filter(pk__in=set(instance_ids), state=InstanceState.FAILED)
    ends = failed.values_list("pk", "failure_reason", "hung_requests")
    return {instance_id: End(reason, hung) for instance_id, reason, hung in ends}


def _version_of(model: RegisteredModel) -> str:
    return model.version.sha256 if model.version else ""


def _since() -> datetime:
    return timezone.now() - timedelta(seconds=rules.FORGOTTEN_SECONDS)
