"""HTTP to addresses that people configured: checked at connect time, no redirects, no proxies, bounded."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models_app.domain import addresses


class AddressNotAllowed(OSError):
    """A name led to an address that must not be connected to."""


class GuardedResolver(AbstractResolver):
    """Resolves names and refuses the addresses that may not be connected to.

    The addresses that pass are the ones that are connected to: a name cannot lead elsewhere a moment later. An address
    that stands in the URL itself is never resolved; `models_app.domain.addresses.checked_url` has seen it.
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
                    f"'{host}' leads to {entry['host']}, an address that NOA does not connect to by itself. If it"
                    " is a server of yours in a private network, set 'allow_private_addresses' to true."
                )
        return found

    async def close(self) -> None:
        await self._inner.close()


class TooLong(ValueError):
    """An answer is longer than anything that would make sense."""


def connector(*, allow_private: bool, **options: Any) -> aiohttp.TCPConnector:
    """What connects only where NOA may; `options` are aiohttp's."""
    resolver = GuardedResolver(allow_private=allow_private)
    return aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, **options)


def session(*, allow_private: bool, timeout: aiohttp.ClientTimeout, **options: Any) -> aiohttp.ClientSession:
    """A client session for one configured address. Use it with `async with`, and check the URL first.

    Pass `allow_redirects=False` to each request: a redirect would lead past the check of the URL.
    """
    return aiohttp.ClientSession(
        connector=connector(allow_private=allow_private),
        timeout=timeout,
        trust_env=False,
        auto_decompress=True,
        **options,
    )
