"""Counts limits in Redis, exact for all processes that share it: one script per request, by Redis' own clock.

It counts as `models_app.domain.traffic.limits.Counters` does. Requests in flight are leases that their process renews:
those of a process that died expire after a minute, with what was set aside for them.

Redis keeps the changes of a script that fails: each script checks its arguments before its first change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import DataError, RedisError, ResponseError

from models_app import clocks
from models_app.domain.traffic.limits import COUNTED, MICRO, MOST, KeyLimits, Refusal, Spent, Standing, Ticket
from models_app.gateway.calls.permits import Uncountable

# No request waits longer for its limits; a healthy Redis answers in less than a millisecond.
TIMEOUT_SECONDS = 0.05
_CONNECTIONS = 16
# Longer: at the start of the process no request waits yet.
_START_SECONDS = 2.0
_LEASE_SECONDS = 60
_RENEW_SECONDS = 20.0
# A month's counters outlive it by some days, so that its end can still be inspected.
_MONTH_SECONDS = 40 * 86_400

Failure = (RedisError, OSError, TimeoutError)

# `most` is `limits.MOST`.
_COMMON = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local second = tonumber(t[1])
local function window(key)
  local total, newest, kept = 0, 0, {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local at, count = tonumber(all[i]), tonumber(all[i + 1])
    if at <= second - 61 or at > second then redis.call('HDEL', key, all[i])
    else total = total + count; kept[#kept + 1] = {at, count}; if at > newest then newest = at end end
  end
  return total, newest, kept
end
local most = 9007199254740992
local function whole(first, last, least)
  for i = first, last do
    local n = tonumber(ARGV[i])
    if not n or n ~= math.floor(n) or n < least or n > most then return false end
  end
  return true
end
local wrong = redis.error_reply('noa: a number is not whole or out of range')
local function drop(id)
  redis.call('ZREM', KEYS[3], id)
  for _, what in ipairs({'tokens', 'micro'}) do
    local own = redis.call('HGET', KEYS[5], id .. what)
    if own then
      redis.call('HDEL', KEYS[5], id .. what)
      if own ~= '0' then redis.call('HINCRBY', KEYS[5], what, '-' .. own) end
    end
  end
end
"""

# KEYS: requests, tokens, active, month, held. ARGV: request id, reserved tokens, tokens and millionths of a dollar that
# are set aside of the month, five limits (-1: none), lease seconds.
_ADMIT = (
    _COMMON
    + """
local function free_in(kept, excess)
  table.sort(kept, function(a, b) return a[1] < b[1] end)
  for _, bucket in ipairs(kept) do
    excess = excess - bucket[2]
    if excess <= 0 then return math.max(0.001, bucket[1] + 61 - now) end
  end
  return 1
end
if not (whole(2, 4, 0) and whole(5, 9, -1) and whole(10, 10, 1)) then return wrong end
local reserved = tonumber(ARGV[2])
local rpm, tpm, concurrent = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local mtok, micro = tonumber(ARGV[8]), tonumber(ARGV[9])
local requests, newest_r, kept_r = window(KEYS[1])
local tokens, newest_t, kept_t = 0, 0, {}
if tpm >= 0 then tokens, newest_t, kept_t = window(KEYS[2]) end
local spent = redis.call('HMGET', KEYS[4], 'tokens', 'micro')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do drop(id) end
local held = redis.call('HMGET', KEYS[5], 'tokens', 'micro')
local stokens, smicro = tonumber(spent[1] or 0), tonumber(spent[2] or 0)
local refusal, retry = '', 0
if mtok >= 0 and stokens >= mtok then refusal, retry = 'monthly_tokens', -1
elseif micro >= 0 and smicro >= micro then refusal, retry = 'budget', -1
elseif mtok >= 0 and stokens + tonumber(held[1] or 0) >= mtok then refusal, retry = 'set_aside', 1
elseif micro >= 0 and smicro + tonumber(held[2] or 0) >= micro then refusal, retry = 'set_aside', 1
elseif rpm >= 0 and requests >= rpm then refusal, retry = 'requests', free_in(kept_r, requests - rpm + 1)
elseif tpm >= 0 and tokens > 0 and tokens + reserved > tpm then
  refusal, retry = 'tokens', free_in(kept_t, tokens + math.min(reserved, tpm) - tpm)
elseif concurrent >= 0 and redis.call('ZCARD', KEYS[3]) >= concurrent then refusal, retry = 'concurrent', 1
else
  redis.call('HINCRBY', KEYS[1], second, 1); redis.call('EXPIRE', KEYS[1], 62)
  requests = requests + 1; newest_r = second
  if tpm >= 0 then
    redis.call('HINCRBY', KEYS[2], second, reserved); redis.call('EXPIRE', KEYS[2], 62)
    tokens = tokens + reserved; newest_t = second
  end
  if concurrent >= 0 or mtok >= 0 or micro >= 0 then
    drop(ARGV[1])
    redis.call('ZADD', KEYS[3], now + tonumber(ARGV[10]), ARGV[1]); redis.call('EXPIRE', KEYS[3], ARGV[10])
    redis.call('HSET', KEYS[5], ARGV[1] .. 'tokens', ARGV[3], ARGV[1] .. 'micro', ARGV[4])
    redis.call('HINCRBY', KEYS[5], 'tokens', ARGV[3]); redis.call('HINCRBY', KEYS[5], 'micro', ARGV[4])
    redis.call('EXPIRE', KEYS[5], ARGV[10])
  end
end
return {refusal, tostring(retry), second, requests, tokens,
  tostring(math.max(0, newest_r + 61 - now)), tostring(math.max(0, newest_t + 61 - now))}
"""
)

# KEYS as above. ARGV: request id, second and change of the reserved tokens, tokens, millionths of a dollar, seconds.
_SETTLE = (
    _COMMON
    + """
if not (whole(2, 2, 0) and whole(3, 3, -most) and whole(4, 5, 0)) then return wrong end
drop(ARGV[1])
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  if redis.call('HINCRBY', KEYS[2], ARGV[2], ARGV[3]) < 0 then redis.call('HSET', KEYS[2], ARGV[2], 0) end
end
redis.call('HINCRBY', KEYS[4], 'tokens', ARGV[4])
redis.call('HINCRBY', KEYS[4], 'micro', ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[6])
"""
)

# KEYS: month. ARGV: tokens, millionths of a dollar, seconds.
_RAISE = """
local spent = redis.call('HMGET', KEYS[1], 'tokens', 'micro')
if tonumber(spent[1] or 0) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'tokens', ARGV[1]) end
if tonumber(spent[2] or 0) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'micro', ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


class RedisCounters:
    """Belongs to the event loop that first uses it. Every method raises one of `Failure` when Redis does not answer,
    and Uncountable when it refuses the numbers of one request."""

    def __init__(self, url: str) -> None:
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            decode_responses=True,
        )
        self._redis: Redis = Redis(connection_pool=self._pool)
        self._admit = self._redis.register_script(_ADMIT)
        self._settle = self._redis.register_script(_SETTLE)
        self._raise = self._redis.register_script(_RAISE)
        self._active: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect, and load the scripts: within the first request's timeout there is no time for both."""
        async with clocks.timeout(_START_SECONDS):
            for script in (_ADMIT, _SETTLE, _RAISE):
                await self._redis.script_load(script)

    async def admit(self, ticket: Ticket, limits: KeyLimits, month: str) -> tuple[Ticket, Standing]:
        """As `Counters.admit`; the ticket carries the second of Redis' clock."""
        counted = [getattr(limits, name) for name in COUNTED]
        if limits.monthly_budget_usd is not None:
            counted[-1] = min(round(limits.monthly_budget_usd * MICRO), MOST)
        numbers = [-1 if limit is None else limit for limit in counted]
        found = await self._call(
            self._admit(
                keys=_keys(ticket.key_id, month),
                args=[
                    ticket.request_id,
                    ticket.reserved,
                    ticket.held,
                    ticket.held_micro,
                    *numbers,
                    _LEASE_SECONDS,
                ],
            )
        )
        standing = _standing(found, limits)
        if standing.refusal is None and (limits.max_concurrent is not None or limits.counts_months):
            self._hold(ticket)
        return replace(ticket, second=int(found[2])), standing

    async def settle(self, ticket: Ticket, tokens: int, micro_usd: int, month: str) -> None:
        self._active.pop(ticket.request_id, None)
        difference = tokens - ticket.reserved
        numbers = [ticket.second, difference, tokens, micro_usd, _MONTH_SECONDS]
        await self._call(self._settle(keys=_keys(ticket.key_id, month), args=[ticket.request_id, *numbers]))

    async def raise_to(self, spent: Iterable[Spent]) -> None:
        for item in spent:
            keys = _keys(item.key_id, item.month)[3:4]
            sums = [min(item.tokens, MOST), min(item.micro_usd, MOST)]
            await self._call(self._raise(keys=keys, args=[*sums, _MONTH_SECONDS]))

    async def close(self) -> None:
        if self._renewing:
            self._renewing.cancel()
        with contextlib.suppress(*Failure):
            await self._pool.disconnect()

    async def _call(self, command: Any) -> Any:
        # Also covers name lookup, connecting, and loading a script that Redis lacks.
        async with clocks.timeout(TIMEOUT_SECONDS):
            try:
                return await command
            except (ResponseError, DataError) as error:
                if _is_outage(error):
                    raise
                raise Uncountable(str(error)) from error

    def _hold(self, ticket: Ticket) -> None:
        self._active[ticket.request_id] = ticket.key_id
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Renew the leases of requests that outlast one."""
        while self._active:
            await asyncio.sleep(_RENEW_SECONDS)
            with contextlib.suppress(*Failure):
                seconds, _ = await self._redis.time()
                until = seconds + _LEASE_SECONDS
                for request_id, key_id in tuple(self._active.items()):
                    _, _, key, _, held = _keys(key_id, "")
                    await self._redis.zadd(key, {request_id: until}, xx=True)
                    await self._redis.expire(key, _LEASE_SECONDS)
                    await self._redis.expire(held, _LEASE_SECONDS)


def _keys(key_id: str, month: str) -> list[str]:
    # In braces: a cluster stores all counters of one API key on one server.
    start = f"noa:limits:{{{key_id}}}:"
    return [f"{start}requests", f"{start}tokens", f"{start}active", f"{start}{month}", f"{start}held"]


def _is_outage(error: ResponseError | DataError) -> bool:
    """Whether Redis refuses the commands of all requests, not only these numbers: read-only, no memory, no rights.

    Redis' own states have a class in the library, or begin with a word in capitals.
    """
    word = str(error).partition(" ")[0]
    is_state = type(error) is not ResponseError or word.isupper()
    return is_state and word != "WRONGTYPE" and not isinstance(error, DataError)


def _standing(found: list[Any], limits: KeyLimits) -> Standing:
    refusal, retry, _, requests, tokens, reset_requests, reset_tokens = found
    standing = Standing()
    if refusal:
        standing.refusal, standing.retry_after = Refusal(refusal), float(retry)
    if limits.requests_per_minute is not None:
        standing.remaining_requests = max(0, limits.requests_per_minute - int(requests))
        standing.reset_requests = float(reset_requests)
    if limits.tokens_per_minute is not None:
        standing.remaining_tokens = max(0, limits.tokens_per_minute - int(tokens))
        standing.reset_tokens = float(reset_tokens)
    return standing
