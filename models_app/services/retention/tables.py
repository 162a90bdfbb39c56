"""What happens to the rows of each table: deleted after a time, or bounded by something else, with the reason.

`tests/services/retention` fails for a table that is missing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Model, Q

from models_app.domain.states import LIVE_INSTANCE_STATES, TERMINAL_JOB_STATES
from models_app.domain.windows import RollupStep
from models_app.models import (
    Activity,
    AuditEntry,
    Event,
    IdempotencyKey,
    Instance,
    Job,
    LedgerEntry,
    LoadMeasurement,
    ProfileRun,
    RouteChange,
    Traffic,
    WebhookDelivery,
)
from models_app.services.coordination import idempotency


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows are deleted `kept` after the time in `column`, if they match `where`.

    by_id       rows have ascending numbers in the order of time, and no index on `column`
    keeps_last  the newest row stays: its number is the position of readers
    """

    model: type[Model]
    column: str
    kept: Callable[[], timedelta]
    where: Q = Q()
    by_id: bool = False
    keeps_last: bool = False


def _events() -> timedelta:
    return timedelta(days=settings.NOA_EVENT_DAYS)


def _audit() -> timedelta:
    return timedelta(days=settings.NOA_AUDIT_DAYS)


def history() -> timedelta:
    return timedelta(days=settings.NOA_HISTORY_DAYS)


RULES = (
    # Before the events to which they belong.
    Rule(WebhookDelivery, "created_at", _events, by_id=True),
    Rule(Event, "created_at", _events, keeps_last=True),
    Rule(Job, "created_at", _events, where=Q(state__in=TERMINAL_JOB_STATES)),
    Rule(Instance, "created_at", _events, where=~Q(state__in=LIVE_INSTANCE_STATES)),
    Rule(AuditEntry, "at", _audit),
    Rule(LogEntry, "action_time", _audit, by_id=True),
    Rule(LedgerEntry, "at", history),
    Rule(RouteChange, "created_at", history, by_id=True),
    Rule(LoadMeasurement, "at", history, by_id=True),
    Rule(ProfileRun, "started_at", history, where=Q(baseline=False)),
    Rule(Activity, "hour", history),
    Rule(Traffic, "start", history, where=Q(step=RollupStep.DAY)),
    Rule(IdempotencyKey, "created_at", lambda: idempotency.KEPT),
    Rule(Session, "expire_date", lambda: timedelta(0)),
)

_BY_HAND = "one for each object that an operator or an administrator makes, who also deletes it"
# Label of a table: why its rows need no rule above.
BOUNDED: dict[str, str] = {
    "auth.group": _BY_HAND,
    "auth.permission": "a fixed number for each table",
    "auth.user": _BY_HAND,
    "contenttypes.contenttype": "one for each table",
    "models_app.accesslog": "NOA_ACCESS_LOG_DAYS: models_app.services.access_log.retention",
    "models_app.accesstext": "its rule's days: models_app.services.access_log.texts",
    "models_app.apikey": _BY_HAND,
    "models_app.autoswitch": "one for each route",
    "models_app.capabilityevidence": "the newest for each model, capability and source",
    "models_app.demand": "expires within seconds: models_app.services.lifecycle.demand",
    "models_app.gatewayprocess": "old ones are added up in one row: models_app.services.retention.deleting",
    "models_app.lease": "one for each periodic task",
    "models_app.logintally": "at most 10,000: models_app.services.log_ins.brake",
    "models_app.modelfile": "one for each model file of a node",
    "models_app.modelversion": "one for each file that an operator puts into a model folder",
    "models_app.node": _BY_HAND,
    "models_app.profilesample": "deleted with its profile",
    "models_app.provider": _BY_HAND,
    "models_app.recovery": "one for each model and node",
    "models_app.registeredmodel": _BY_HAND,
    "models_app.route": _BY_HAND,
    "models_app.routingrevision": "one row",
    "models_app.statesnapshot": _BY_HAND,
    "models_app.suspect": "a suspicion ends within hours: models_app.services.routes.suspects",
    "models_app.textrule": _BY_HAND,
    "models_app.webhook": _BY_HAND,
}


def label(model: type[Any]) -> str:
    return str(model._meta.label_lower)
