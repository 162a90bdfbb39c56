"""The audit log: one row for each call that changes something, allowed or refused, from API, console and commands.

Any client can send calls that are refused: beyond a few in a minute they are counted, and become one row of the minute.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.db import Error, transaction
from django.db.models import CharField

from models_app.domain.addresses import network_of
from models_app.domain.records.confidential import for_record, storable, without_secrets
from models_app.domain.records.refusals import Counted, Sampler
from models_app.models import AuditEntry

logger = logging.getLogger(__name__)

_LENGTHS = {field.name: field.max_length for field in AuditEntry._meta.concrete_fields if isinstance(field, CharField)}


class Channel(StrEnum):
    API = "api"
    CONSOLE = "console"
    COMMAND = "command"


# Refused calls with a row of their own in a minute: of each address without a usable key, and of each other caller.
_anonymous = Sampler(3, 8)
_callers = Sampler(60, 32)
# The action of the row for the others.
REFUSED_CALLS = "refused_calls"


def record(
    *,
    channel: Channel,
    actor: str,
    action: str,
    status: int,
    subject: str = "",
    arguments: Mapping[str, Any] | None = None,
    error_code: str = "",
    method: str = "",
    path: str = "",
    request_id: str = "",
    client: str = "",
    job_id: uuid.UUID | None = None,
) -> None:
    """Write the row, in a separate transaction. Call it when the outcome is known.

    `status` is the HTTP status, or its equivalent elsewhere. Secrets are removed here. A database error is only logged:
    the change has been made, and its caller must get the answer.
    """
    if status >= 400:
        write_summaries()
        sampler, source = (_callers, actor) if actor else (_anonymous, network_of(client) or channel)
        if not sampler.take(source, time.time()):
            return
    texts = {
        "actor": actor,
        "channel": channel.value,
        "action": action,
        "subject": subject,
        "error_code": error_code,
        "method": method,
        "path": path,
        "request_id": request_id,
        "client": client,
    }
    try:
        with transaction.atomic():
            AuditEntry.objects.create(
                status=status,
                job_id=job_id,
                arguments=for_record(arguments or {}),
                **{name: _fitting(name, text) for name, text in texts.items()},
            )
    except Error:
        logger.exception("the audit row of %s by %s was not written", action, actor or "an anonymous caller")


def write_summaries(*, every: bool = False) -> None:
    """Write a row for the refused calls of each minute that has ended, or with `every` of the present one too."""
    now = time.time()
    for sampler, column in ((_anonymous, "client"), (_callers, "actor")):
        for counted in sampler.ended(now, every=every):
            _summarize(counted, column)


def _summarize(counted: Counted, column: str) -> None:
    seconds = max(1, round(counted.last_at - counted.first_at))
    try:
        with transaction.atomic():
            AuditEntry.objects.create(
                channel=Channel.API.value,
                action=REFUSED_CALLS,
                status=429,
                arguments={"calls": counted.count, "seconds": seconds},
                **{column: _fitting(column, counted.source)},
            )
    except Error:
        logger.exception("the audit row of %d refused calls was not written", counted.count)


def _fitting(name: str, text: str) -> str:
    return storable(str(without_secrets(text)))[: _LENGTHS[name]]


def represent(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": entry.at,
        "actor": entry.actor,
        "channel": entry.channel,
        "action": entry.action,
        "method": entry.method,
        "path": entry.path,
        "subject": entry.subject,
        "arguments": entry.arguments,
        "status": entry.status,
        "error_code": entry.error_code,
        "request_id": entry.request_id,
        "client": entry.client,
        "job_id": entry.job_id,
    }
