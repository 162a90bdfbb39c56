"""Holds requests to the limits of their keys: what is asked before they go on, told in their headers, settled after.

The counting is in Redis where there is one, else in this process. While Redis does not answer, each process counts for
itself: a request that should wait may then pass, which is better than that none passes. What was set aside in one store
is settled in that store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from math import ceil
from typing import Protocol

import orjson

from models_app.domain.errors import BudgetExceeded, NoaError, PermissionDenied, RateLimited
from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic import limits
from models_app.domain.traffic.limits import Counters, KeyLimits, Refusal, Spent, Standing, Ticket
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.permits import Permit
from models_app.gateway.http.types import Header

logger = logging.getLogger(__name__)

# How long Redis is left alone after it did not answer: of the requests of five seconds one waits for it.
RETRY_SECONDS = 5.0
# A request that was answered is given back a moment later; who asks again at once should not be refused for that.
_CONCURRENT_GRACE_SECONDS = 0.025

_ANSWER_LENGTHS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

# Told once when Redis stops answering (False) and once when it answers again.
Report = Callable[[bool, str], None]


class SharedCounters(Protocol):
    """`models_app.gateway.calls.redis_limits.RedisCounters`, whose library only those pay for who use it."""

    async def connect(self) -> None: ...
    async def admit(self, ticket: Ticket, limits: KeyLimits, month: str) -> tuple[Ticket, Standing]: ...
    async def settle(self, ticket: Ticket, tokens: int, micro_usd: int, month: str) -> None: ...
    async def raise_to(self, spent: Iterable[Spent]) -> None: ...
    async def close(self) -> None: ...


def _unreported(answers: bool, why: str) -> None:
    """For a gateway that nobody watches."""


class Limiter:
    """One per gateway, used in its event loop. `failures` are what the shared store raises when it does not answer."""

    def __init__(
        self,
        shared: SharedCounters | None = None,
        *,
        failures: tuple[type[BaseException], ...] = (),
        report: Report = _unreported,
    ) -> None:
        self._shared, self._failures, self._report = shared, failures, report
        self._local = Counters()
        self._down_until = 0.0
        self._is_down = False
        self._settling: set[asyncio.Task[None]] = set()

    async def admit(self, call: Call, wanted: KeyLimits, raw: bytes) -> Permit | None:
        """Count the request and tell its answer's headers; None when nothing counts.

        Raises PermissionDenied, RateLimited or BudgetExceeded.
        """
        record = call.record
        if not wanted.allows(record.client):
            raise PermissionDenied(
                "This API key may not be used from this address. An administrator can change that.",
                code="address_not_allowed",
            )
        if not wanted.counts:
            return None
        now = time.time()
        reserved = _reserved(raw) if wanted.tokens_per_minute is not None else 0
        ticket = Ticket(record.key_id, record.request_id, reserved, int(now))
        month = limits.month_of(now)
        ticket, standing, shared = await self._ask(ticket, wanted, month)
        if standing.refusal is Refusal.CONCURRENT:
            await asyncio.sleep(_CONCURRENT_GRACE_SECONDS)
            ticket, standing, shared = await self._ask(ticket, wanted, month)
        call.headers = _headers(wanted, standing)
        if standing.refusal is not None:
            raise _refused(wanted, standing, now)
        return Permit(ticket, month, shared)

    async def connect(self) -> None:
        """Before the first request: a server starts also where Redis does not answer."""
        if self._shared is not None:
            try:
                await self._shared.connect()
            except self._failures as error:
                self._note_failure(error)

    def settle(self, permit: Permit, record: AccessRecord) -> None:
        """The request has ended. Returns at once."""
        tokens = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
        micro = round((record.cost_usd or 0.0) * limits.MICRO)
        if not permit.shared:
            self._local.settle(permit.ticket, tokens, micro, time.time())
            return
        task = asyncio.get_running_loop().create_task(self._settle(permit, tokens, micro))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def raise_to(self, spent: list[Spent]) -> None:
        """What the roll-ups know of this month: so budgets survive restarts of this process and of Redis."""
        self._local.raise_to(spent, time.time())
        if self._shared is not None and not self._rests():
            try:
                await self._shared.raise_to(spent)
            except self._failures as error:
                self._note_failure(error)
            else:
                self._note_success()

    async def close(self) -> None:
        """What was used is settled first."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=1.0)
        if self._shared is not None:
            await self._shared.close()

    async def _ask(self, ticket: Ticket, wanted: KeyLimits, month: str) -> tuple[Ticket, Standing, bool]:
        if self._shared is not None and not self._rests():
            try:
                found, standing = await self._shared.admit(ticket, wanted, month)
            except self._failures as error:
                self._note_failure(error)
            else:
                self._note_success()
                return found, standing, True
        return ticket, self._local.admit(ticket, wanted, time.time()), False

    async def _settle(self, permit: Permit, tokens: int, micro: int) -> None:
        assert self._shared is not None
        try:
            await self._shared.settle(permit.ticket, tokens, micro, permit.month)
        except self._failures as error:
            # The month is made good from the roll-ups; what was set aside of the minute runs out.
            self._note_failure(error)

    def _rests(self) -> bool:
        return time.monotonic() < self._down_until

    def _note_failure(self, error: BaseException) -> None:
        self._down_until = time.monotonic() + RETRY_SECONDS
        if not self._is_down:
            self._is_down = True
            why = str(error) or type(error).__name__
            logger.warning("Redis does not answer; each process holds limits by itself: %s", why)
            self._report(False, why)

    def _note_success(self) -> None:
        if self._is_down:
            self._is_down = False
            logger.info("Redis answers again; limits hold across processes")
            self._report(True, "")


def _reserved(raw: bytes) -> int:
    body = orjson.loads(raw)
    asked = next((body[name] for name in _ANSWER_LENGTHS if type(body.get(name)) is int), None)
    return limits.estimate(len(raw), max(0, asked) if asked is not None else None)


_SENTENCES = {
    Refusal.REQUESTS: "This API key may send {0.requests_per_minute} requests in a minute.",
    Refusal.TOKENS: "This API key may use {0.tokens_per_minute} tokens in a minute.",
    Refusal.CONCURRENT: "This API key may have {0.max_concurrent} requests under way at once.",
    Refusal.MONTHLY_TOKENS: "This API key has used its {0.monthly_tokens} tokens of this month.",
    Refusal.BUDGET: "This API key has spent its {0.monthly_budget_usd} US dollars of this month.",
}


def _refused(wanted: KeyLimits, standing: Standing, now: float) -> NoaError:
    refusal = standing.refusal
    assert refusal is not None
    sentence = _SENTENCES[refusal].format(wanted)
    if refusal in (Refusal.BUDGET, Refusal.MONTHLY_TOKENS):
        return BudgetExceeded(
            f"{sentence} It works again when the next month begins (UTC), or with a higher limit.",
            retry_after=limits.until_next_month(now),
        )
    return RateLimited(
        f"{sentence} Wait, and send the request again.",
        retry_after=max(1, ceil(standing.retry_after or 1.0)),
    )


def _headers(wanted: KeyLimits, standing: Standing) -> list[Header]:
    """As OpenAI's and Anthropic's clients read them."""
    found: list[Header] = []
    for what, most, left, reset in (
        (b"requests", wanted.requests_per_minute, standing.remaining_requests, standing.reset_requests),
        (b"tokens", wanted.tokens_per_minute, standing.remaining_tokens, standing.reset_tokens),
    ):
        if most is not None and left is not None:
            found += [
                (b"x-ratelimit-limit-" + what, b"%d" % most),
                (b"x-ratelimit-remaining-" + what, b"%d" % left),
                (b"x-ratelimit-reset-" + what, b"%.3fs" % reset),
                (b"anthropic-ratelimit-" + what + b"-limit", b"%d" % most),
                (b"anthropic-ratelimit-" + what + b"-remaining", b"%d" % left),
            ]
    return found
