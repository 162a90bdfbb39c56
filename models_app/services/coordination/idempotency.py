"""Idempotency keys: a client can repeat a request without its work being repeated."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain.errors import Conflict, IdempotencyKeyReused, InvalidRequest
from models_app.domain.records.confidential import without_secrets
from models_app.models import IdempotencyKey, Job

# As payment APIs keep them: longer than any retry lasts, and the table stays small.
KEPT = timedelta(hours=24)
# The server died during the request. Longer than any request lasts (a caller waits up to 300 s for a job).
ABANDONED = timedelta(minutes=10)
# At most, those of machines.
_CLOCKS_DIFFER_BY = timedelta(seconds=5)
# Old rows that each write deletes: more than it adds, and few enough to take no noticeable time.
_CHUNK = 100

_WELL_FORMED = re.compile(r"[\x20-\x7e]{1,255}")


def digest_of(*, target: str, body: Any) -> str:
    """SHA-256 of the request: the path with its query, and the body in a canonical form."""
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(target.encode() + b"\n" + canonical).hexdigest()


def claim(*, caller: str, key: str, operation: str, digest: str) -> tuple[IdempotencyKey, bool]:
    """The row of this request and True; or the row of an earlier, identical request and False.

    Raises InvalidRequest for a malformed key, IdempotencyKeyReused for a key of another request, and Conflict
    while the first request is in progress or when its answer was not stored because it holds a secret.
    """
    if not _WELL_FORMED.fullmatch(key):
        raise InvalidRequest(
            "'Idempotency-Key' must be 1 to 255 printable ASCII characters, for example a UUID.",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    _delete_old()
    try:
        with transaction.atomic():
            return IdempotencyKey.objects.create(actor=caller, key=key, operation=operation, digest=digest), True
    except IntegrityError:
        found = IdempotencyKey.objects.select_related("job").filter(actor=caller, key=key).first()
    if found is None or _is_over(found):
        if found is not None:
            IdempotencyKey.objects.filter(pk=found.pk).delete()
        return claim(caller=caller, key=key, operation=operation, digest=digest)
    _check_same(found, operation, digest)
    return found, False


def _check_same(found: IdempotencyKey, operation: str, digest: str) -> None:
    if (found.operation, found.digest) != (operation, digest):
        raise IdempotencyKeyReused(
            "This 'Idempotency-Key' was sent with another request before. Choose a new one for each new request.",
            param="Idempotency-Key",
        )
    if found.job is not None or found.answer is not None:
        return
    if found.status is None:
        raise Conflict(
            "The first request with this 'Idempotency-Key' is still in progress. Retry in a moment.",
            code="idempotency_in_progress",
            retry_after=1,
        )
    raise Conflict(
        "This request was answered before, and its answer held a secret, which is shown once and not stored. If it was "
        "lost, delete the new resource and create it again with a new 'Idempotency-Key'.",
        code="idempotency_answer_gone",
    )


def _is_over(found: IdempotencyKey) -> bool:
    now = timezone.now()
    if found.created_at > now + _CLOCKS_DIFFER_BY:
        # It was sent before the clock was set back, and counts from now.
        IdempotencyKey.objects.filter(pk=found.pk).update(created_at=now)
        return False
    answered = found.job_id is not None or found.status is not None
    return now - found.created_at > (KEPT if answered else ABANDONED)


def link(*, row: IdempotencyKey, job: Job) -> None:
    """Repetitions of the request return this job from now on."""
    row.job = job
    row.save(update_fields=["job"])


def keep(*, row: IdempotencyKey, status: int, body: Any, location: str | None) -> None:
    """Store the answer of a call that created no job; of one that holds a secret, only the status."""
    if row.job is not None:
        return
    # In the form that the client reads: plain JSON.
    answer = orjson.loads(orjson.dumps({"body": body, "location": location}, default=str))
    row.status = status
    row.answer = answer if without_secrets(answer) == answer else None
    row.save(update_fields=["status", "answer"])


def release(*, row: IdempotencyKey) -> None:
    """Free the key of a call that was refused and changed nothing. A job that it created stays."""
    IdempotencyKey.objects.filter(pk=row.pk, job=None).delete()


def _delete_old() -> None:
    old = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT)
    found = list(old.values_list("pk", flat=True)[:_CHUNK])
    if found:
        IdempotencyKey.objects.filter(pk__in=found).delete()
