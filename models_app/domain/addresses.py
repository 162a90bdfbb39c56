"""The addresses that NOA can connect to: protects its network from configured addresses (SSRF). Those of clients."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from models_app.domain.address_ranges import Reach, reach
from models_app.domain.errors import InvalidRequest

MAX_URL_LENGTH = 500
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
# Printable ASCII but for '?' and '#'.
_PATH = r'/[!-"$->@-~]*'
URL_PATTERN = rf"https?://{_HOST}(?::{_PORT})?(?:{_PATH})?"
"""The shape of an address whose host is a name or an IPv4 address."""
_URL = re.compile(rf"https?://(?:{_HOST}|\[[0-9A-Fa-f:.]+\])(?::{_PORT})?(?:{_PATH})?")


def may_connect(address: str, *, allow_private: bool) -> bool:
    """Whether NOA is allowed to connect to this IP address (as text, with or without an IPv6 zone)."""
    found = reach(ipaddress.ip_address(address.partition("%")[0]))
    return found is Reach.PUBLIC or (allow_private and found is Reach.PRIVATE)


def network_of(address: str) -> str:
    """By what clients are counted: the address, or the network of an IPv6 address; other text stays as it is.

    A household or office has one IPv6 network of 64 bits, and can use any address in it.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def checked_url(text: str, *, param: str = "base_url", allow_private: bool = False) -> SplitResult:
    """The parts of an allowed http(s) URL; raises InvalidRequest with the required change.

    A host name is checked again by its resolved address when NOA connects: see `may_connect`.
    """
    parts = _split(text, param)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused(param, "must be a whole address, like 'https://api.example.com/v1'")
    if parts.username is not None or parts.password is not None:
        raise _refused(param, "must not contain a user name or a password; configure the secret separately")
    if "?" in text or "#" in text:
        raise _refused(param, "must not contain '?' or '#'")
    if not _URL.fullmatch(text):
        raise _refused(param, "must be a whole address, like 'https://api.example.com/v1'")
    try:
        allowed = may_connect(parts.hostname, allow_private=allow_private)
    except ValueError:
        return parts  # a name
    if not allowed:
        raise address_refused(parts.hostname, param=param)
    return parts


def address_refused(address: str, *, param: str = "base_url") -> InvalidRequest:
    return InvalidRequest(
        f"'{param}' leads to {address}, an address that NOA does not connect to by default. If it is your own"
        " server in a private network, set 'allow_private_addresses' to true.",
        code="address_not_allowed",
        param=param,
    )


def _split(text: str, param: str) -> SplitResult:
    if len(text) > MAX_URL_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise _refused(param, f"must be printable ASCII without spaces, at most {MAX_URL_LENGTH} characters")
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        raise _refused(param, "is not a valid URL") from None
    return parts


def _refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {why}.", code="invalid_url", param=param)
