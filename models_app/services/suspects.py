"""Requests that were in runners when those died, and which of them are asked no more."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain import suspects as rules
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState
from models_app.domain.suspects import Death
from models_app.models import Instance, RegisteredModel, Suspect


def note(*, death: Death) -> bool:
    """Remember that a runner ended with this request in it. True when the request may be refused from now on.

    Whether the runner crashed is seen when that is looked at.
    """
    model = RegisteredModel.objects.select_related("version").filter(key=death.key).first()
    if model is None:
        return False
    try:
        with transaction.atomic():
            Suspect.objects.create(
                model=model,
                digest=death.digest,
                version=model.version.sha256 if model.version else "",
                instance_id=death.instance_id,
                request_id=death.request_id[:64],
            )
    except IntegrityError:
        return False  # two requests with the same text were in it
    return Suspect.objects.filter(model=model, digest=death.digest).count() >= rules.CRASHES


def may_be_asked(*, death: Death) -> bool:
    """Whether the request may be asked once more now. Not before it is known how its runner ended.

    After a crash one suspect follows the other, in all processes: else who was beside the guilty one would be beside it
    again.
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
    """It was asked once more, or never will be. A runner that survived that acquits it."""
    rows = Suspect.objects.filter(model__key=death.key, digest=death.digest)
    if survived:
        rows.delete()
    else:
        rows.filter(instance_id=death.instance_id).update(on_trial=False)


def forget() -> None:
    """Delete what is older than anything that it could lead to."""
    Suspect.objects.filter(at__lte=_since()).delete()


def killers() -> dict[str, dict[str, float]]:
    """By the model's key: the digests of requests that are refused, and until when (Unix seconds)."""
    rows = Suspect.objects.filter(at__gt=_since()).values_list(
        "model__key", "model__version__sha256", "version", "digest", "instance_id", "at"
    )
    found = [row for row in rows if (row[1] or "") == row[2]]
    crashed = _crashed({row[4] for row in found}) if found else set()
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for key, _, _, digest, instance_id, at in found:
        if instance_id in crashed:
            times[key, digest].append(at.timestamp())
    refused: dict[str, dict[str, float]] = defaultdict(dict)
    for (key, digest), moments in times.items():
        until = rules.refused_until(moments)
        if until is not None:
            refused[key][digest] = until
    return dict(refused)


def _crashed(instance_ids: set[uuid.UUID]) -> set[uuid.UUID]:
    failed = Instance.objects.filter(pk__in=instance_ids, state=InstanceState.FAILED)
    reasons = failed.values_list("pk", "failure_reason")
    return {instance_id for instance_id, reason in reasons if rules.is_crash(reason)}


def _since() -> datetime:
    return timezone.now() - timedelta(seconds=rules.FORGOTTEN_SECONDS)
