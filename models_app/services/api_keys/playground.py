"""The playground's API keys, with which signed-in users send requests from the console through the gateway."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.signals import post_save, pre_delete
from django.utils import timezone
from django.utils.crypto import salted_hmac

from models_app.domain.events import EventName
from models_app.domain.scopes import Scope
from models_app.domain.traffic.routing import hash_api_key
from models_app.models import ApiKey
from models_app.services.api_keys import keys
from models_app.services.events import events
from models_app.services.routes import routing

# How long requests still pass after the user's permission is withdrawn; the page fetches the next key by itself.
GOOD_FOR = timedelta(minutes=15)
# A key that expires sooner is replaced, so that it does not expire between two requests of a conversation.
_MIN_REMAINING = timedelta(minutes=5)
_SALT = "models_app.services.playground"


@transaction.atomic
def key_for(*, user_id: int, username: str) -> tuple[ApiKey, str, bool]:
    """The user's key, its text, and whether it is new.

    The text is derived from the server's secret and the key's expiry, so that two windows of one user share it and it
    is not stored. It has the scope `infer` only. A revoked key is replaced by a new one.
    """
    prefix = f"play{user_id}-"
    mine = ApiKey.objects.filter(key_id__startswith=prefix)
    if found := _usable(mine):
        return (*found, False)
    # The first write takes the lock: of two windows that open concurrently the second finds the key of the first.
    routing.bump()
    if found := _usable(mine):
        return (*found, False)
    expires_at = timezone.now() + GOOD_FOR
    key = mine.filter(revoked_at=None).first()
    if key is None:
        key = ApiKey(
            key_id=f"{prefix}{mine.count() + 1}",
            name=f"Playground of {username}"[:100],
            scopes=[Scope.INFER.value],
            created_by=f"user:{username}"[:150],
        )
    key.expires_at = expires_at
    key.digest = hash_api_key(_text(key.key_id, expires_at))
    is_first = key.pk is None
    key.save()
    if is_first:
        _publish(key)
    return key, _text(key.key_id, expires_at), True


def end_keys_of(*, user_id: int) -> None:
    """Revoke the keys of a user who has lost access to the console; requests in flight with them end too."""
    mine = ApiKey.objects.filter(key_id__startswith=f"play{user_id}-", revoked_at=None)
    for key in mine:
        keys.revoke(key=key, actor=key.created_by)


def follow_users() -> None:
    """End the keys of each user who is deactivated, is not staff any more, or is deleted."""
    user_model = get_user_model()
    post_save.connect(_on_change, sender=user_model, dispatch_uid="playground-changed")
    # Before the deletion: the id is gone after it.
    pre_delete.connect(_on_deletion, sender=user_model, dispatch_uid="playground-deleted")


def _on_change(instance: Any, created: bool, **_: Any) -> None:
    if not created and not (instance.is_active and instance.is_staff):
        end_keys_of(user_id=instance.pk)


def _on_deletion(instance: Any, **_: Any) -> None:
    end_keys_of(user_id=instance.pk)


def _usable(mine: QuerySet[ApiKey]) -> tuple[ApiKey, str] | None:
    key = mine.filter(revoked_at=None, expires_at__gt=timezone.now() + _MIN_REMAINING).first()
    if key is None or key.expires_at is None:
        return None
    return key, _text(key.key_id, key.expires_at)


def _text(key_id: str, expires_at: datetime) -> str:
    made = salted_hmac(_SALT, f"{key_id}|{expires_at.isoformat()}", algorithm="sha256")
    return f"noa_{key_id}_{made.hexdigest()}"


def _publish(key: ApiKey) -> None:
    events.publish(
        name=EventName.KEY_CREATED,
        subject=key.key_id,
        message=f"The API key '{key.name}' was created; it is renewed while the playground is used.",
        actor=key.created_by,
        cause="requested",
        after={"name": key.name, "scopes": key.scopes},
    )
