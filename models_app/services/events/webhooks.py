"""Webhooks: addresses to which events are sent."""

from __future__ import annotations

import secrets as random
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from models_app.domain import addresses
from models_app.domain.errors import Conflict, InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.domain.traffic import webhooks as rules
from models_app.models import Webhook
from models_app.services.coordination import secrets

# Every event writes a row for every webhook that subscribes to it.
MAX_WEBHOOKS = 100
SECRET_LENGTHS = (16, 256)
_KEY_BYTES = 32


@transaction.atomic
def create(
    *,
    url: str,
    events: Sequence[str] = (),
    secret: str | None = None,
    enabled: bool = True,
    description: str = "",
    allow_private_addresses: bool = False,
    actor: str,
) -> tuple[Webhook, str | None]:
    """The webhook, and its secret when it was generated here: it cannot be read again.

    Raises InvalidRequest for an invalid address, event or secret, and Conflict beyond `MAX_WEBHOOKS`.
    """
    addresses.checked_url(url, param="url", allow_private=allow_private_addresses)
    generated = None if secret is not None else rules.new_secret(random.token_bytes(_KEY_BYTES))
    if Webhook.objects.count() >= MAX_WEBHOOKS:
        raise Conflict(
            f"There are {MAX_WEBHOOKS} webhooks already. Delete one first.",
            code="too_many_webhooks",
        )
    webhook = Webhook.objects.create(
        url=url,
        secret=secrets.seal(_checked_secret(secret or generated or "")),
        events=_checked_events(events),
        enabled=enabled,
        description=description,
        allow_private_addresses=allow_private_addresses,
        created_by=actor,
    )
    return webhook, generated


def get(*, webhook_id: uuid.UUID) -> Webhook:
    webhook = Webhook.objects.filter(pk=webhook_id).first()
    if webhook is None:
        raise NotFound(f"There is no webhook {webhook_id}.", code="webhook_not_found", param="webhook_id")
    return webhook


@transaction.atomic
def update(*, webhook_id: uuid.UUID, changes: dict[str, Any]) -> Webhook:
    """Change some of the fields that `create` accepts, with the same errors."""
    webhook = get(webhook_id=webhook_id)
    values = dict(changes)
    if "events" in values:
        values["events"] = _checked_events(values["events"])
    if "secret" in values:
        values["secret"] = secrets.seal(_checked_secret(values["secret"]))
    for name, value in values.items():
        setattr(webhook, name, value)
    addresses.checked_url(webhook.url, param="url", allow_private=webhook.allow_private_addresses)
    webhook.save(update_fields=[*values, "updated_at"])
    return webhook


def delete(*, webhook_id: uuid.UUID) -> None:
    """Delete a webhook with its deliveries, pending ones included."""
    get(webhook_id=webhook_id).delete()


def _checked_secret(secret: str) -> str:
    shortest, longest = SECRET_LENGTHS
    if not shortest <= len(secret) <= longest:
        raise InvalidRequest(f"'secret' must have {shortest} to {longest} characters.", param="secret")
    if rules.is_malformed(secret):
        least, most = rules.KEY_LENGTHS
        raise InvalidRequest(
            f"'secret' begins with '{rules.SECRET_PREFIX}', which the base64 of {least} to {most} bytes must follow.",
            param="secret",
        )
    return secret


def _checked_events(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in set(EventName)]
    if unknown:
        raise InvalidRequest(f"Unknown event '{unknown[0][:80]}'. Known: {', '.join(EventName)}.", param="events")
    return list(dict.fromkeys(names))
