"""The last contact with a provider: what a request, a test or a discovery met. Pure."""

from __future__ import annotations

from enum import StrEnum


class Contact(StrEnum):
    NOT_TRIED = "not_tried"
    # Whatever it answered: a server error, too, is an answer.
    ANSWERED = "answered"
    KEY_REFUSED = "key_refused"
    NOT_REACHABLE = "not_reachable"
    # It answered, but not as a server of its kind.
    WRONG_ANSWER = "wrong_answer"


_NOT_REACHED = ("provider_unreachable", "provider_timeout", "upstream_timeout", "provider_disconnected")
_MEANINGS = {
    "provider_auth_failed": Contact.KEY_REFUSED,
    "provider_rate_limited": Contact.ANSWERED,
    **dict.fromkeys((*_NOT_REACHED, "address_not_allowed"), Contact.NOT_REACHABLE),
}


def contact_of(code: str | None) -> Contact:
    """The outcome of a request that ended with the error of this code, or without one."""
    return Contact.ANSWERED if code is None else _MEANINGS.get(code, Contact.WRONG_ANSWER)
