"""HTTP to addresses from the configuration: checked at connect time, no redirects, no proxies, bounded."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models_app.domain import addresses


class AddressNotAllowed(OSError):
    """A name resolves to an address that must not be connected to."""


class GuardedResolver(AbstractResolver):
    """Resolves names and refuses the addresses that must not be connected to.

    The checked addresses are the connected ones: a name cannot resolve to others in between. An address in the URL
    itself is never resolved; `models_app.domain.addresses.checked_url` has checked it.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for entry in found:
            if not addresses.may_connect(entry["host"], allow_private=self._allow_private):
                raise AddressNotAllowed(
                    f"'{host}' resolves to {entry['host']}, an address that NOA does not connect to by default. If it"
                    " is your own server in a private network, set 'allow_private_addresses' to true."
                )
        return found

    async def close(self) -> None:
        await self._inner.close()


class TooLong(ValueError):
    """An answer is longer than any valid one."""


def connector(*, allow_private: bool, **options: Any) -> aiohttp.TCPConnector:
    """A connector that connects only to allowed addresses; `options` are aiohttp's."""
    resolver = GuardedResolver(allow_private=allow_private)
    return aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, **options)


def session(*, allow_private: bool, timeout: aiohttp.ClientTimeout, **options: Any) -> aiohttp.ClientSession:
    """A client session for one configured address. Use it with `async with`, and check the URL first.

    Pass `allow_redirects=False` to each request: a redirect would bypass the check of the URL.
    """
    return aiohttp.ClientSession(
        connector=connector(allow_private=allow_private),
        timeout=timeout,
        trust_env=False,
        auto_decompress=True,
        **options,
    )
