"""Webhooks: addresses that are told of events."""

from __future__ import annotations

import secrets as random
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from models_app.domain import addresses
from models_app.domain.errors import Conflict, InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.models import Webhook
from models_app.services.coordination import secrets

# Every event writes a row for every webhook that wants it.
MAX_WEBHOOKS = 100
SECRET_LENGTHS = (16, 256)


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
    """The webhook, and its secret when it was made here: it cannot be read again.

    Raises InvalidRequest for an address, an event or a secret that cannot be used, and Conflict when there are too many.
    """
    addresses.checked_url(url, param="url", allow_private=allow_private_addresses)
    made = None if secret is not None else random.token_urlsafe(32)
    if Webhook.objects.count() >= MAX_WEBHOOKS:
        raise Conflict(
            f"There are {MAX_WEBHOOKS} webhooks already. Delete one that is not needed any more.",
            code="too_many_webhooks",
        )
    webhook = Webhook.objects.create(
        url=url,
        secret=secrets.seal(_checked_secret(secret or made or "")),
        events=_checked_events(events),
        enabled=enabled,
        description=description,
        allow_private_addresses=allow_private_addresses,
        created_by=actor,
    )
    return webhook, made


def get(*, webhook_id: uuid.UUID) -> Webhook:
    webhook = Webhook.objects.filter(pk=webhook_id).first()
    if webhook is None:
        raise NotFound(f"There is no webhook {webhook_id}.", code="webhook_not_found", param="webhook_id")
    return webhook


@transaction.atomic
def update(*, webhook_id: uuid.UUID, changes: dict[str, Any]) -> Webhook:
    """Change some of what `create` takes. Raises as it does."""
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
    """Its deliveries go with it, those that wait too."""
    get(webhook_id=webhook_id).delete()


def _checked_secret(secret: str) -> str:
    shortest, longest = SECRET_LENGTHS
    if not shortest <= len(secret) <= longest:
        raise InvalidRequest(f"'secret' must have {shortest} to {longest} characters.", param="secret")
    return secret


def _checked_events(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in set(EventName)]
    if unknown:
        raise InvalidRequest(f"There is no event '{unknown[0][:80]}'. Known: {', '.join(EventName)}.", param="events")
    return list(dict.fromkeys(names))
