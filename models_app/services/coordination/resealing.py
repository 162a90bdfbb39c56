"""Encrypts every stored secret again with the newest key, after which older keys can be removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.db.models import Model

from models_app.models import Provider, Webhook
from models_app.services.coordination import secrets

_HOLDERS: tuple[type[Model], ...] = (Provider, Webhook)


@dataclass(slots=True)
class Resealed:
    """`unreadable`: rows whose secret none of the keys decrypts; they are left unchanged."""

    count: int = 0
    unreadable: list[str] = field(default_factory=list)


@transaction.atomic
def reseal_all() -> Resealed:
    """Encrypt all stored secrets again; the secrets themselves stay the same."""
    done = Resealed()
    for holder in _HOLDERS:
        rows = holder._default_manager.select_for_update().exclude(secret="")
        for key, secret in rows.values_list("pk", "secret"):
            try:
                sealed = secrets.reseal(secret)
            except InvalidToken:
                done.unreadable.append(f"{holder._meta.verbose_name} {key}")
                continue
            # Only this column: concurrent changes of others must stay.
            holder._default_manager.filter(pk=key).update(secret=sealed)
            done.count += 1
    return done
