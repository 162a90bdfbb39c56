"""API keys for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.errors import NoaError
from models_app.models import ApiKey
from models_app.services.api_keys import keys
from models_app.services.routes import routing


def created(*scopes: str, **fields: Any) -> ApiKey:
    key, _ = keys.create(name=fields.pop("name", "a key"), scopes=scopes or ["read"], actor="test", **fields)
    return key


def refusal(call: Callable[[], object], kind: type[NoaError]) -> NoaError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def age(key: ApiKey) -> None:
    """Let the key have expired a second ago."""
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    routing.bump()
    key.refresh_from_db()
