"""API keys: made, found, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from models_app.domain.errors import InvalidRequest
from models_app.domain.routing import hash_api_key
from models_app.domain.scopes import Scope
from models_app.models import ApiKey
from models_app.services import routing


@transaction.atomic
def create(
    *, name: str, scopes: Sequence[str], actor: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its text, which is nowhere else and cannot be read again."""
    unknown = sorted(set(scopes) - {scope.value for scope in Scope})
    if unknown or not scopes:
        raise InvalidRequest(
            f"Scopes must be some of {', '.join(Scope)}"
            + (f", not {', '.join(unknown)}." if unknown else "."),
            code="invalid_scope",
            param="scopes",
        )
    key_id = secrets.token_hex(6)
    text = f"noa_{key_id}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        key_id=key_id,
        name=name,
        digest=hash_api_key(text),
        scopes=list(scopes),
        created_by=actor,
        expires_at=expires_at,
    )
    routing.bump()
    return key, text


def find(*, text: str) -> ApiKey | None:
    """The usable key with this text. Looked up by digest: how long that takes tells nothing of the secret."""
    return (
        ApiKey.objects.filter(digest=hash_api_key(text), revoked_at=None)
        .filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
        .first()
    )


@transaction.atomic
def revoke(*, key: ApiKey) -> None:
    """The key is refused from now on, in every process as soon as its snapshot is new."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    routing.bump()
