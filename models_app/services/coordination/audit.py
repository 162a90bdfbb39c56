"""The audit log: one row for each call that changes something, allowed or refused, from API, console and commands."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.db import Error, transaction
from django.db.models import CharField

from models_app.domain.records.confidential import for_record, storable, without_secrets
from models_app.models import AuditEntry

logger = logging.getLogger(__name__)

_LENGTHS = {field.name: field.max_length for field in AuditEntry._meta.concrete_fields if isinstance(field, CharField)}


class Channel(StrEnum):
    API = "api"
    CONSOLE = "console"
    COMMAND = "command"


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
