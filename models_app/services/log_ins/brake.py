"""Counts failed log-ins in the database, for all processes, and refuses further ones for a while."""

from __future__ import annotations

import hashlib
import hmac
import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from models_app.domain import log_ins
from models_app.domain.addresses import network_of
from models_app.domain.errors import RateLimited
from models_app.domain.events import EventName
from models_app.domain.log_ins import Kind, Tally
from models_app.models import LogInTally
from models_app.services.coordination import audit
from models_app.services.events import events

# An attacker with many addresses makes rows; beyond this, the oldest are deleted.
MAX_ROWS = 10_000
_DELETED_AT_ONCE = 500
# How long an address stays known for a user who does not log in from it again.
KNOWN_FOR = timedelta(days=90)
_WINDOW = timedelta(seconds=log_ins.WINDOW_SECONDS)
# At most, those of machines.
_CLOCKS_DIFFER_BY = timedelta(seconds=5)
# The longest name that a user can have; also the length of an actor.
_MAX_NAME = 150


@dataclass(frozen=True, slots=True)
class Attempt:
    """One log-in that is being checked. It counts as failed until it succeeds: attempts can run side by side."""

    username: str
    address: str
    subjects: dict[Kind, str]


def begin(*, username: str, address: str) -> Attempt:
    """Count an attempt; end it with `succeed`, `fail` or `withdraw`.

    Raises RateLimited with the seconds to wait; such an attempt is not counted, so that waiting helps.
    """
    attempt = Attempt(username[:_MAX_NAME], address, _subjects(username, address))
    with transaction.atomic():
        rows = _locked(attempt)
        now = timezone.now()
        _bring_back(rows, now)
        tallies = {kind: _tally(rows[subject], now) for kind, subject in attempt.subjects.items()}
        pair = rows[attempt.subjects[Kind.PAIR]]
        is_known = pair.known_at is not None and now - pair.known_at < KNOWN_FOR
        seconds, why = log_ins.longest_wait(tallies, is_known=is_known)
        if not seconds:
            for kind, subject in attempt.subjects.items():
                rows[subject].failures, rows[subject].last_at = tallies[kind].current + 1, now
            LogInTally.objects.bulk_update(rows.values(), ["failures", "last_at"])
    if seconds:
        refusal = _refusal(seconds)
        _record(attempt, refusal.http_status, f"{refusal.code}: {why}")
        raise refusal
    return attempt


def succeed(attempt: Attempt) -> None:
    """The password was right: this user is known at this address now, and has no failures there."""
    _take_back(attempt)
    LogInTally.objects.filter(subject=attempt.subjects[Kind.PAIR]).update(failures=0, known_at=timezone.now())
    _record(attempt, 200, "", actor=f"user:{attempt.username}"[:_MAX_NAME])


def fail(attempt: Attempt) -> None:
    """Publishes an event when this was the last failure that is allowed."""
    _record(attempt, 401, "wrong_password")
    failures = dict(LogInTally.objects.filter(subject__in=attempt.subjects.values()).values_list("subject", "failures"))
    for kind, subject in attempt.subjects.items():
        if failures.get(subject) == log_ins.ALLOWED[kind]:
            _publish(attempt, kind)


def withdraw(attempt: Attempt) -> None:
    """The password was not checked, as the server was too busy."""
    _take_back(attempt)


def _take_back(attempt: Attempt) -> None:
    LogInTally.objects.filter(subject__in=attempt.subjects.values()).update(failures=Greatest(F("failures") - 1, 0))


def _subjects(username: str, address: str) -> dict[Kind, str]:
    name, network = unicodedata.normalize("NFKC", username).casefold(), network_of(address)
    return {
        Kind.PAIR: _digest(Kind.PAIR, name, network),
        Kind.ADDRESS: _digest(Kind.ADDRESS, network),
        Kind.USER: _digest(Kind.USER, name),
    }


def _digest(*parts: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def _locked(attempt: Attempt) -> dict[str, LogInTally]:
    """The rows of an attempt, locked until the transaction ends, in one order: attempts cannot deadlock."""
    subjects = sorted(attempt.subjects.values())
    rows = LogInTally.objects.select_for_update().filter(subject__in=subjects).order_by("subject")
    found = {row.subject: row for row in rows}
    if len(found) < len(subjects):
        _make_room()
        missing = [LogInTally(subject=subject, last_at=timezone.now()) for subject in subjects if subject not in found]
        LogInTally.objects.bulk_create(missing, ignore_conflicts=True)
        found = {row.subject: row for row in rows.all()}
    return found


def _bring_back(rows: dict[str, LogInTally], now: datetime) -> None:
    """Failures of the future happened before the clock was set back: they count from now, and not for that much longer.

    Stored at once: a log-in that has to wait stores nothing.
    """
    early = [row for row in rows.values() if row.last_at > now + _CLOCKS_DIFFER_BY]
    for row in early:
        row.last_at = now
    LogInTally.objects.bulk_update(early, ["last_at"])


def _make_room() -> None:
    """Delete rows that do not count any more, and the oldest ones above the limit."""
    delete_old(most=_DELETED_AT_ONCE)
    if LogInTally.objects.count() >= MAX_ROWS:
        oldest = LogInTally.objects.order_by(F("known_at").asc(nulls_first=True), "last_at")
        LogInTally.objects.filter(pk__in=list(oldest.values_list("pk", flat=True)[:_DELETED_AT_ONCE])).delete()


def delete_old(*, most: int = _DELETED_AT_ONCE) -> int:
    """Delete rows whose failures do not count any more, at most so many; returns their number."""
    now = timezone.now()
    forgotten = Q(known_at=None) | Q(known_at__lt=now - KNOWN_FOR)
    old = LogInTally.objects.filter(forgotten, last_at__lt=now - _WINDOW).order_by("last_at")
    return LogInTally.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:most])).delete()[0]


def _tally(row: LogInTally, now: datetime) -> Tally:
    return Tally(row.failures, max(0.0, (now - row.last_at).total_seconds()))


def _refusal(seconds: float) -> RateLimited:
    whole = math.ceil(seconds)
    return RateLimited(
        f"Too many log-ins failed. Wait {whole} seconds, then try again.",
        code="too_many_failed_log_ins",
        retry_after=whole,
    )


def _record(attempt: Attempt, status: int, code: str, *, actor: str = "") -> None:
    audit.record(
        channel=audit.Channel.CONSOLE,
        actor=actor,
        action="log_in",
        status=status,
        # A name that does not exist is not stored: it can be a password, typed into the wrong field.
        subject=attempt.username if get_user_model().objects.filter(username=attempt.username).exists() else "",
        error_code=code,
        client=attempt.address,
    )


def _publish(attempt: Attempt, kind: Kind) -> None:
    events.publish(
        name=EventName.LOG_INS_BLOCKED,
        subject=attempt.address if kind == Kind.ADDRESS else "",
        message=f"{log_ins.ALLOWED[kind]} log-ins by the same {kind} failed; further ones have to wait.",
        actor="console",
        cause="wrong passwords",
        data={"by": str(kind), "address": attempt.address},
    )
