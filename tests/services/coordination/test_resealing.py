"""Rotation of the keys that encrypt secrets."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from models_app.models import Provider, Webhook
from models_app.services.coordination import secrets

pytestmark = pytest.mark.django_db

KEY = "sk-canary-1234567890"


@pytest.fixture
def sealed(settings: Any) -> str:
    """A provider's and a webhook's secret under an old key; yields the new key."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.NOA_ENCRYPTION_KEYS = [old]
    Provider.objects.create(slug="p", kind="openai", secret=secrets.seal(KEY))
    Provider.objects.create(slug="none", kind="openai")
    Webhook.objects.create(url="https://example.com", secret=secrets.seal(KEY))
    settings.NOA_ENCRYPTION_KEYS = [new, old]
    return new


def test_afterwards_the_old_key_is_not_needed(sealed: str, settings: Any) -> None:
    said = StringIO()
    call_command("reseal_secrets", stdout=said)
    settings.NOA_ENCRYPTION_KEYS = [sealed]
    assert secrets.unseal(Provider.objects.get(slug="p").secret) == KEY
    assert secrets.unseal(Webhook.objects.get().secret) == KEY
    assert Provider.objects.get(slug="none").secret == ""
    assert said.getvalue().startswith("2 secrets")


def test_what_fits_no_key_is_named_and_left_as_it_is(sealed: str, settings: Any) -> None:
    settings.NOA_ENCRYPTION_KEYS = [sealed]
    before = Provider.objects.get(slug="p").secret
    with pytest.raises(CommandError, match="enter their secrets again"):
        call_command("reseal_secrets", stdout=StringIO())
    assert Provider.objects.get(slug="p").secret == before


def test_a_database_without_the_key_tells_nothing(sealed: str, settings: Any) -> None:
    settings.NOA_ENCRYPTION_KEYS = [sealed]
    with pytest.raises(secrets.SecretUnreadable) as caught:
        secrets.unseal(Provider.objects.get(slug="p").secret)
    assert KEY not in str(caught.value)
