"""Applies the limits of API keys: checked before a request, reported in its headers, settled after it.

Redis counts if it is configured, else this process. While Redis does not answer, each process counts by itself:
requests above the limit can then pass, which is better than refusing all. Tokens reserved in one store are settled in
that store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Protocol

from models_app.domain.catalog.pricing import Price, cost
from models_app.domain.errors import BudgetExceeded, NoaError, RateLimited
from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic import limits
from models_app.domain.traffic.claims import Claim
from models_app.domain.traffic.limits import Counters, KeyLimits, Refusal, Spent, Standing, Ticket
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.permits import Permit, Uncountable
from models_app.gateway.http.types import Header

logger = logging.getLogger(__name__)

# Pause after Redis did not answer: only one request in five seconds waits for it.
RETRY_SECONDS = 5.0
# A request is settled a moment after its answer; the client's next request should not be refused for that.
_GRACE_SECONDS = 0.025
# A settled request, or another one's set-aside, makes the difference: both are over soon.
_BRIEF = frozenset({Refusal.CONCURRENT, Refusal.SET_ASIDE})

# Called once when Redis stops answering (False, the reason), and once when it answers again (True).
Report = Callable[[bool, str], None]


class SharedCounters(Protocol):
    """`models_app.gateway.calls.redis_limits.RedisCounters`, whose library is imported only if Redis is configured."""

    async def connect(self) -> None: ...
    async def admit(self, ticket: Ticket, limits: KeyLimits, month: str) -> tuple[Ticket, Standing]: ...
    async def settle(self, ticket: Ticket, tokens: int, micro_usd: int, month: str) -> None: ...
    async def raise_to(self, spent: Iterable[Spent]) -> None: ...
    async def close(self) -> None: ...


def _unreported(answers: bool, why: str) -> None:
    """For a gateway without reports."""


class Limiter:
    """One per gateway, used in its event loop. `failures` are the errors of a shared store that does not answer."""

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

    async def admit(
        self, call: Call, key_limits: KeyLimits, claim: Claim, prices: Sequence[Price | None] = ()
    ) -> Permit | None:
        """Count the request and set the headers of its answer; None when the key has no counted limit.

        `prices` are those of the models that can answer it; the highest cost is set aside of the budget. Raises
        RateLimited or BudgetExceeded.
        """
        record = call.record
        if not key_limits.counts:
            return None
        now = time.time()
        ticket = _ticket(record, key_limits, claim, prices, int(now))
        month = limits.month_of(now)
        ticket, standing, shared = await self._admit(ticket, key_limits, month)
        if standing.refusal in _BRIEF:
            await asyncio.sleep(_GRACE_SECONDS)
            ticket, standing, shared = await self._admit(ticket, key_limits, month)
        call.headers = _headers(key_limits, standing)
        if standing.refusal is not None:
            raise _refused(key_limits, standing, now)
        return Permit(ticket, month, shared)

    async def connect(self) -> None:
        """Before the first request. A server starts even if Redis does not answer."""
        if self._shared is not None:
            try:
                await self._shared.connect()
            except self._failures as error:
                self._record_failure(error)

    def settle(self, permit: Permit, record: AccessRecord) -> None:
        """Counts the usage of a request that has ended, in place of what was set aside for it. Returns at once."""
        tokens = min((record.prompt_tokens or 0) + (record.completion_tokens or 0), limits.MOST)
        micro = min(round((record.cost_usd or 0.0) * limits.MICRO), limits.MOST)
        if not permit.shared:
            self._local.settle(permit.ticket, tokens, micro, time.time())
            return
        task = asyncio.get_running_loop().create_task(self._settle(permit, tokens, micro))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def raise_to(self, spent: list[Spent]) -> None:
        """Raises the counters to the roll-ups' sums: budgets survive restarts of this process and of Redis."""
        self._local.raise_to(spent, time.time())
        if self._shared is not None and not self._is_paused():
            try:
                await self._shared.raise_to(spent)
            except Uncountable as error:
                logger.error("The sums of this month cannot be counted: %s", error)
            except self._failures as error:
                self._record_failure(error)
            else:
                self._record_success()

    async def close(self) -> None:
        """Settles all ended requests first."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=1.0)
        if self._shared is not None:
            await self._shared.close()

    async def _admit(self, ticket: Ticket, key_limits: KeyLimits, month: str) -> tuple[Ticket, Standing, bool]:
        if self._shared is not None and not self._is_paused():
            try:
                found, standing = await self._shared.admit(ticket, key_limits, month)
            except Uncountable as error:
                logger.error("The limits cannot be counted for request %s: %s", ticket.request_id, error)
                raise NoaError(
                    "The limits of this API key cannot be counted for this request. The server log has the details.",
                    code="limits_failed",
                ) from error
            except self._failures as error:
                self._record_failure(error)
            else:
                self._record_success()
                return found, standing, True
        return ticket, self._local.admit(ticket, key_limits, time.time()), False

    async def _settle(self, permit: Permit, tokens: int, micro: int) -> None:
        assert self._shared is not None
        try:
            await self._shared.settle(permit.ticket, tokens, micro, permit.month)
        except Uncountable as error:
            logger.error("The usage of request %s cannot be counted: %s", permit.ticket.request_id, error)
        except self._failures as error:
            # The roll-ups correct the month; the reservation of the minute expires.
            self._record_failure(error)

    def _is_paused(self) -> bool:
        return time.monotonic() < self._down_until

    def _record_failure(self, error: BaseException) -> None:
        self._down_until = time.monotonic() + RETRY_SECONDS
        if not self._is_down:
            self._is_down = True
            why = str(error) or type(error).__name__
            logger.warning("Redis does not answer; each process applies limits by itself: %s", why)
            self._report(False, why)

    def _record_success(self) -> None:
        if self._is_down:
            self._is_down = False
            logger.info("Redis answers again; limits apply across processes")
            self._report(True, "")


def _ticket(
    record: AccessRecord, key_limits: KeyLimits, claim: Claim, prices: Sequence[Price | None], second: int
) -> Ticket:
    most = claim.most
    reserved = claim.reserved if key_limits.tokens_per_minute is not None else 0
    held = (most.prompt or 0) + (most.completion or 0) if key_limits.monthly_tokens is not None else 0
    micro = 0
    if key_limits.monthly_budget_usd is not None:
        amounts = [amount for price in prices if (amount := cost(price, most)) is not None]
        micro = ceil(max(amounts, default=0) * limits.MICRO)
    return Ticket(record.key_id, record.request_id, reserved, second, held, min(micro, limits.MOST))


_SENTENCES = {
    Refusal.REQUESTS: "This API key is limited to {0.requests_per_minute} requests per minute.",
    Refusal.TOKENS: "This API key is limited to {0.tokens_per_minute} tokens per minute.",
    Refusal.CONCURRENT: "This API key is limited to {0.max_concurrent} concurrent requests.",
    Refusal.MONTHLY_TOKENS: "This API key has used its {0.monthly_tokens} tokens of this month.",
    Refusal.BUDGET: "This API key has spent its {0.monthly_budget_usd} US dollars of this month.",
    Refusal.SET_ASIDE: "The rest of this API key's month is set aside for its requests in flight.",
}


def _refused(key_limits: KeyLimits, standing: Standing, now: float) -> NoaError:
    refusal = standing.refusal
    assert refusal is not None
    sentence = _SENTENCES[refusal].format(key_limits)
    if refusal in (Refusal.BUDGET, Refusal.MONTHLY_TOKENS):
        return BudgetExceeded(
            f"{sentence} It works again when the next month begins (UTC), or with a higher limit.",
            retry_after=limits.until_next_month(now),
        )
    return RateLimited(
        f"{sentence} Wait, and send the request again.",
        retry_after=max(1, ceil(standing.retry_after or 1.0)),
    )


def _headers(key_limits: KeyLimits, standing: Standing) -> list[Header]:
    """In the formats of OpenAI's, Anthropic's and LiteLLM's clients."""
    found: list[Header] = []
    if standing.spent_micro is not None:
        found.append((b"x-litellm-key-spend", b"%.6f" % (standing.spent_micro / limits.MICRO)))
    for what, most, left, reset in (
        (b"requests", key_limits.requests_per_minute, standing.remaining_requests, standing.reset_requests),
        (b"tokens", key_limits.tokens_per_minute, standing.remaining_tokens, standing.reset_tokens),
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
