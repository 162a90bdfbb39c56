"""Stored prompts and answers: the rules that select them, storing, reading, deleting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.records.confidential import storable, without_secrets
from models_app.domain.traffic import texts
from models_app.domain.traffic.texts import CapturedText
from models_app.models import AccessText, ApiKey, Route, TextRule
from models_app.services.rollups import summing
from models_app.services.routes import routing

logger = logging.getLogger(__name__)

_LONGEST_DAYS = 3_650


@transaction.atomic
def set_rule(*, key_id: str | None, route: str | None, share: float, max_bytes: int, days: int, actor: str) -> TextRule:
    """Create or change the rule of one API key or one route. Raises InvalidRequest, or NotFound if it is unknown."""
    if not 0 <= share <= 1 or not 1 <= max_bytes <= texts.LARGEST or not 1 <= days <= _LONGEST_DAYS:
        raise InvalidRequest(
            f"'share' is from 0 to 1, 'max_bytes' from 1 to {texts.LARGEST}, 'days' from 1 to {_LONGEST_DAYS}.",
            code="invalid_text_rule",
        )
    rule, _ = TextRule.objects.update_or_create(
        subject=_subject(key_id, route),
        defaults={"share": share, "max_bytes": max_bytes, "days": days},
        create_defaults={
            "share": share,
            "max_bytes": max_bytes,
            "days": days,
            "created_by": actor,
        },
    )
    routing.bump()
    return rule


def _subject(key_id: str | None, route: str | None) -> str:
    if (key_id is None) == (route is None):
        raise InvalidRequest("Name either 'key_id' or 'route'.", code="invalid_text_rule")
    if key_id is not None:
        if not ApiKey.objects.filter(key_id=key_id).exists():
            raise NotFound(f"There is no API key '{key_id[:40]}'.", code="api_key_not_found")
        return texts.of_key(key_id)
    assert route is not None
    if not Route.objects.filter(name=route).exists():
        raise NotFound(f"There is no route '{route[:80]}'.", code="route_not_found", param="route")
    return texts.of_route(route)


@transaction.atomic
def delete_rule(*, rule_id: int) -> None:
    """Delete a rule: no more texts are stored for it; stored texts stay until they expire."""
    # A database refuses larger numbers.
    deleted = rule_id < 2**63 and TextRule.objects.filter(pk=rule_id).delete()[0]
    if not deleted:
        raise NotFound(f"There is no rule {str(rule_id)[:20]}.", code="text_rule_not_found")
    routing.bump()


def of_request(*, request_id: str) -> AccessText:
    found = AccessText.objects.filter(request_id=request_id).first()
    if found is None:
        raise NotFound(
            f"No texts are stored for the request '{request_id[:80]}'. They are stored for keys and routes with a"
            " rule only.",
            code="texts_not_found",
            param="request_id",
        )
    return found


def store(found: Iterable[CapturedText]) -> None:
    """Redact and write. A text whose redaction fails is not stored."""
    redact = _redaction()
    AccessText.objects.bulk_create(
        [
            AccessText(
                request_id=item.request_id,
                started_at=summing.moment(item.started_at),
                delete_at=summing.moment(item.started_at) + timedelta(days=item.days),
                key_id=item.key_id,
                route=item.route,
                model_key=item.model_key,
                prompt=_cleaned(item.prompt, redact),
                answer=_cleaned(item.answer, redact),
                is_cut=item.is_cut,
            )
            for item in found
        ],
        ignore_conflicts=True,
    )


def _redaction() -> Callable[[str], str] | None:
    if not settings.NOA_TEXT_REDACTION:
        return None
    function: Callable[[str], str] = import_string(settings.NOA_TEXT_REDACTION)
    return function


def _cleaned(raw: bytes, redact: Callable[[str], str] | None) -> str:
    """The text without anything that looks like a key; the operator's function then redacts it further."""
    text: str = without_secrets(raw.decode("utf-8", "replace"))
    return storable(redact(text) if redact else text)


def delete_old() -> int:
    """Delete expired texts; returns their number."""
    deleted, _ = AccessText.objects.filter(delete_at__lt=timezone.now()).delete()
    return deleted
