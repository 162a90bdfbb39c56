"""Secrets at rest: encrypted with keys from the settings, so that a copy of the database does not disclose them."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from models_app.domain.errors import NoaError


class SecretUnreadable(NoaError):
    """None of the keys decrypts a sealed secret."""

    default_code = "secret_unreadable"


def seal(text: str) -> str:
    """Encrypt and authenticate `text` with the newest key."""
    return _keys().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Decrypt a secret; raises SecretUnreadable when none of the keys does."""
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SecretUnreadable(
            "A stored secret cannot be decrypted with the keys in NOA_ENCRYPTION_KEYS. Restore the key that it was"
            " encrypted with, or enter the secret again."
        ) from None


def reseal(sealed: str) -> str:
    """The same secret under the newest key."""
    return _keys().rotate(sealed.encode()).decode()


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.NOA_ENCRYPTION_KEYS])
