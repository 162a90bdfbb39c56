"""Connects to the servers of providers, with TLS for https, and only to allowed addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from models_app import clocks
from models_app.domain import addresses
from models_app.gateway.upstream.connection import Connection, Refused, UpstreamError

# The IP addresses of a name, in the order in which they are tried. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_PORTS = {"http": 80, "https": 443}


class AddressRefused(UpstreamError):
    """The provider's name resolves to an address that NOA does not connect to."""


class ConnectTimeout(Refused):
    """The server did not accept the connection in time."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The server of a provider. `prefix` is the path of its base URL, before every path."""

    scheme: str
    host: str
    port: int
    authority: str
    prefix: str
    allow_private: bool

    @classmethod
    def of(cls, base_url: str, allow_private: bool) -> Origin:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        name = f"[{host}]" if ":" in host else host
        return cls(
            scheme=parts.scheme,
            host=host,
            port=parts.port or _PORTS[parts.scheme],
            authority=f"{name}:{parts.port}" if parts.port else name,
            prefix=parts.path.rstrip("/"),
            allow_private=allow_private,
        )

    def pool(self, provider: str) -> str:
        """The name of its connection pool, which no other provider, address or permission shares."""
        return f"{provider} {self.scheme}://{self.authority} {self.allow_private}"


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver; an IP address resolves to itself."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialer:
    """`resolve` and `tls` are parameters for the names and certificates of tests."""

    def __init__(self, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._tls = tls

    async def connect(self, origin: Origin, factory: Callable[[], Connection], seconds: float) -> Connection:
        """A connection to one of the checked addresses of `origin`. Raises Refused or AddressRefused.

        The name is resolved once, so the checked address is the connected one; TLS verifies the name.
        """
        try:
            async with clocks.timeout(seconds):
                found = await self._checked(origin)
                return await self._first(origin, found, factory)
        except TimeoutError as error:
            raise ConnectTimeout(f"accepted no connection within {seconds:g} s") from error
        except (OSError, UnicodeError) as error:  # the latter for names that cannot be in the DNS
            raise Refused(_reason(error)) from error

    async def _checked(self, origin: Origin) -> Sequence[str]:
        found = await self._resolve(origin.host, origin.port)
        for address in found:
            if not addresses.may_connect(address, allow_private=origin.allow_private):
                raise AddressRefused(address)
        return found

    async def _first(self, origin: Origin, found: Sequence[str], factory: Callable[[], Connection]) -> Connection:
        """The first address that accepts: one of two address families is often not routed."""
        loop = asyncio.get_running_loop()
        is_tls = origin.scheme == "https"
        failure: OSError = OSError("its name has no address")
        for address in found:
            try:
                _, connection = await loop.create_connection(
                    factory,
                    address,
                    origin.port,
                    ssl=self._context() if is_tls else None,
                    server_hostname=origin.host if is_tls else None,
                )
            except ssl.SSLError:
                raise  # the other addresses have the same certificate
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure

    def _context(self) -> ssl.SSLContext:
        # Created at the first use: it reads all certificates of the system, and many servers have no providers.
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "its host name cannot be resolved"
    return str(error)[:200] or type(error).__name__
