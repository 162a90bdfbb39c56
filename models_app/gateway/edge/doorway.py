"""The Host check, and the access without a key of clients on this machine."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from models_app.domain.errors import InvalidRequest, PermissionDenied, Unauthenticated
from models_app.domain.traffic.routing import KeyEntry
from models_app.gateway.http import auth, request_body
from models_app.gateway.http.bodies import ANONYMOUS
from models_app.gateway.http.request_body import Hosts, Limits
from models_app.gateway.http.types import Scope, prove

# Set by proxies and content networks: a client behind one is not on this machine, though the connection is.
_PROXY_HEADER = re.compile(
    rb"forwarded|via|client-ip|cdn-loop|x-(forwarded|real|client|cluster|original|envoy|amzn|azure|appengine|cloud-trace"
    rb"|remote|proxy|proxyuser|nginx|scheme|host|scope|vercel|request-start)\b.*|(cf|fly|fastly|akamai|true|x-akamai)-.*"
)
_LOOPBACK_NAME = re.compile(rb"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])\.?(:[0-9]{1,5})?", re.IGNORECASE)


class Doorway:
    """Shared by the endpoints that are answered in front of Django, and by Django itself.

    is_open_here  whether clients on this machine need no key
    refresh       looks for newer keys; False when it did so a moment ago
    """

    def __init__(
        self,
        keys: Callable[[], Mapping[str, KeyEntry]],
        hosts: Hosts | None = None,
        *,
        is_open_here: bool = True,
        refresh: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self._keys = keys
        self._hosts = hosts or Hosts(Limits().allowed_hosts)
        self._is_open_here = is_open_here
        self._refresh = refresh

    def check_host(self, scope: Scope) -> None:
        """Raises InvalidRequest for a host that is not this server's."""
        self._hosts.check(_host(scope))

    def check_address(self, scope: Scope) -> None:
        """Like `check_host`, and accepts the IP address at which the connection arrived.

        Probes and scrapers of orchestrators send it. A web page that is bound to this address by DNS sends its name.
        """
        try:
            self.check_host(scope)
        except InvalidRequest:
            if not _is_own_address(scope):
                raise

    def is_open_to(self, scope: Scope) -> bool:
        """Whether the client needs no key: it is on this machine, and so is every name in the request.

        A key that is sent is checked even so.
        """
        sends_key = auth.has_key(request_body.pick(scope["headers"]))
        return self._is_open_here and not sends_key and is_on_this_machine(scope)

    def key(self, scope: Scope) -> KeyEntry:
        """The key of the request. Raises Unauthenticated, or PermissionDenied for a key of other addresses."""
        picked = request_body.pick(scope["headers"])
        return auth.authenticate(picked, auth.client_of(scope), self._keys(), time.time())

    async def newest_key(self, scope: Scope) -> KeyEntry:
        """The key of the request, which another process can have created a moment ago. Raises Unauthenticated."""
        try:
            return self.key(scope)
        except auth.UnknownKey:
            if self._refresh is None or not await self._refresh("an API key is unknown"):
                raise
            return self.key(scope)

    def known_owner(self, scope: Scope) -> str:
        """The id of the request's key, if it has a valid one that is known here; else `ANONYMOUS`."""
        if not any(name == b"authorization" for name, _ in scope["headers"]):
            return ANONYMOUS
        try:
            owner = self.key(scope).key_id
        except (PermissionDenied, Unauthenticated):
            return ANONYMOUS
        prove(scope)
        return owner


def is_on_this_machine(scope: Scope) -> bool:
    """Whether the client itself is on this machine, not only its proxy.

    Proxies that add no header are recognised as far as possible: many speak HTTP/1.0, or pass the client's Host on.
    """
    if not _is_loopback(scope) or scope.get("http_version", "1.1") != "1.1":
        return False
    if _LOOPBACK_NAME.fullmatch(_host(scope) or b"") is None:
        return False
    return not any(_PROXY_HEADER.fullmatch(name) for name, _ in scope["headers"])


def _host(scope: Scope) -> bytes | None:
    return request_body.pick(scope["headers"]).get(b"host")


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    if not client:
        # A unix socket has no address: its client is on this machine.
        return True
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _is_own_address(scope: Scope) -> bool:
    server, host = scope.get("server"), _host(scope)
    if not server or host is None:
        return False
    match = re.fullmatch(rb"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?", host)
    if match is None:
        return False
    try:
        named = ipaddress.ip_address((match[1] or match[2]).decode("ascii"))
        own = ipaddress.ip_address(server[0].partition("%")[0])
    except ValueError:
        return False
    # A socket of both families shows its IPv4 address within an IPv6 address.
    mapped = own.ipv4_mapped if isinstance(own, ipaddress.IPv6Address) else None
    return named in (own, mapped)
