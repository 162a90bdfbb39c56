"""What probes and profiles of a provider's model cost: a row of the access log for each of their requests.

The API key that started them pays: the rows add to its tokens and dollars of the month, as its own requests do.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.utils import timezone

from models_app.domain.catalog.pricing import Usage, cost
from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic.routing import Target
from models_app.models import RegisteredModel
from models_app.providers.asking.asking import UNREACHABLE, Sent
from models_app.services.access_log import store
from models_app.services.api_keys import budgets
from models_app.services.jobs.jobs import Run
from models_app.services.providers import providers

# A server, or a proxy in front of it, gave up waiting for work that goes on and is paid for.
_TOO_LATE = frozenset({408, 504, 524})


def require_budget(*, model: RegisteredModel, key_id: str) -> None:
    """Raises BudgetExceeded for a key that has nothing left of its month; local models cost nothing."""
    if providers.is_remote(model.provider):
        budgets.require_unspent(key_id=key_id, now=timezone.now())


@contextmanager
def recorded(run: Run, target: Target) -> Iterator[list[Sent]]:
    """Stores the requests that the block adds to the list, also when it fails or is cancelled."""
    sent: list[Sent] = []
    try:
        yield sent
    finally:
        if sent and target.remote is not None:
            mark = uuid.uuid4().hex[:12]
            store.store([_record(run, target, f"{run.job.kind}-{mark}-{n:x}", one) for n, one in enumerate(sent)])


def _record(run: Run, target: Target, request_id: str, sent: Sent) -> AccessRecord:
    record = AccessRecord(
        request_id,
        sent.started_at,
        run.job.kind,
        key_id=run.job.key_id,
        requested_model=target.key,
        model_key=target.key,
        provider=target.remote.provider if target.remote else "",
        instance_id=target.instance_id,
        stream=sent.stream,
        status=sent.status or 502,
        error_code=sent.code,
        duration_ms=sent.duration_ms,
        attempts=1,
        client_request_id=run.job.request_id,
    )
    if sent.status < 400 or sent.status in _TOO_LATE:
        _charge(record, target, sent)
    return record


def _charge(record: AccessRecord, target: Target, sent: Sent) -> None:
    usage = sent.usage
    whole = sent.status == 200 and not sent.code
    if not usage.prompt or (usage.completion is None and sent.claim.answer != 0) or not whole:
        most = sent.claim.expected
        record.estimated = True
        answered = None if sent.status == UNREACHABLE else most.completion
        completion = usage.completion if whole and usage.completion is not None else answered
        usage = replace(usage, prompt=usage.prompt or most.prompt, completion=completion)
    usage = usage if usage.prompt is not None else Usage()
    record.prompt_tokens, record.completion_tokens = usage.prompt, usage.completion
    record.cached_tokens, record.reasoning_tokens = usage.cached, usage.reasoning
    record.cache_write_tokens = usage.cache_write
    amount = cost(target.price, usage)
    record.cost_usd = None if amount is None else float(amount)
