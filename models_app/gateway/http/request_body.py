"""The checks of a request before its model is resolved: host, size, JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from models_app.domain.errors import InvalidRequest, RequestTooLarge
from models_app.domain.records import caller
from models_app.domain.records.caller import NOTHING_STATED, Stated
from models_app.domain.traffic.claims import Claim, claim_of
from models_app.gateway.http.bodies import Body
from models_app.gateway.http.types import Header, Receive

_MIB = 1024 * 1024

_READ_HEADERS = frozenset(
    {
        b"host",
        b"authorization",
        b"x-api-key",
        b"anthropic-beta",
        b"anthropic-version",
        b"openai-beta",
        b"content-length",
        b"content-encoding",
        b"x-request-id",
        b"x-noa-wait",
        b"prefer",
    }
    | caller.HEADERS
)
_HOST = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_])?)\.?(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes, timeouts and hosts that the gateway accepts. Times are seconds.

    `allowed_hosts` as in Django: `example.org`, `.example.org` for its subdomains too, `*` for every name.
    """

    allowed_hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]")
    max_body_bytes: int = 16 * _MIB
    connect_seconds: float = 5.0
    # A long prompt behind a full queue can take minutes before its first byte.
    first_byte_seconds: float = 600.0
    idle_seconds: float = 60.0
    total_seconds: float = 1800.0
    # How long a request waits for a model that is not loaded, or whose runner is restarting; 0: it does not wait.
    wait_seconds: float = 0.0
    # A stream to which nothing was sent for this long gets a ping; 0: none.
    ping_seconds: float = 10.0
    # Concurrent requests of one model in this process, in its queue or in its runner.
    queue_limit: int = 512


class ClientLeft(Exception):
    """The client closed its connection before its answer."""


class Hosts:
    """The Host check, against DNS rebinding: a web page could otherwise reach this server through its own DNS name."""

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.lower().encode("ascii") for name in allowed]
        self._any = b"*" in names
        self._exact = {name.lstrip(b".") for name in names}
        self._suffixes = tuple(name for name in names if name.startswith(b"."))
        # Accepted header values, with their port: a handful in practice, so 64 is plenty.
        self._passed: set[bytes] = set()

    def check(self, host: bytes | None) -> None:
        """Raises InvalidRequest unless `host` is the value of exactly one header that names this server."""
        if host in self._passed:
            return
        match = _HOST.fullmatch(host.lower()) if host is not None else None
        if host is None or match is None:
            raise InvalidRequest(
                "The request needs exactly one valid Host header that names this server.",
                code="invalid_host",
            )
        if not self._is_allowed(match[1]):
            raise InvalidRequest(
                f"The host '{match[1].decode()}' is not allowed. "
                "Use one of this server's names, or have an administrator add this one to NOA_ALLOWED_HOSTS.",
                code="host_not_allowed",
            )
        if len(self._passed) < 64:
            self._passed.add(host)

    def _is_allowed(self, name: bytes) -> bool:
        return self._any or name in self._exact or name.endswith(self._suffixes)


@dataclass(slots=True)
class ParsedBody:
    """The fields of a body that the gateway reads; `raw` is forwarded to a runner unchanged, `claim` limits its use."""

    model: str
    stream: bool
    raw: bytes
    claim: Claim = Claim()
    stated: Stated = NOTHING_STATED


def pick(headers: Iterable[Header]) -> dict[bytes, bytes]:
    """The headers that the gateway reads. Repeated ones are joined, which makes each of them invalid."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ_HEADERS:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def valid_request_id(value: bytes | None) -> str | None:
    """The client's request id; None if it is not safe in a header and in a log."""
    return value.decode("ascii") if value is not None and _REQUEST_ID.fullmatch(value) else None


def check_size(headers: dict[bytes, bytes], limit: int) -> None:
    """Refuses, by its headers alone, a body that is too large or compressed."""
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise too_large(limit)
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise InvalidRequest(
            "Compressed request bodies are not accepted. Send the JSON without Content-Encoding.",
            code="unsupported_encoding",
        )


def too_large(limit: int) -> RequestTooLarge:
    size = f"{limit / _MIB:.4g} MiB" if limit >= _MIB else f"{limit} bytes"
    return RequestTooLarge(f"The request body is larger than {size}. Send less at once.")


async def read_body(receive: Receive, limit: int, taken: Body) -> bytes:
    """The whole body, which is counted in `taken`.

    Raises RequestTooLarge above `limit` bytes, BodiesFull, and ClientLeft when the client disconnects first.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        if len(body) > limit:
            raise too_large(limit)
        taken.grow_to(len(body))
        return body
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        parts.append(message["body"])
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        taken.grow_to(size)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientLeft


def parse(raw: bytes, endpoint: str) -> ParsedBody:
    """The fields of `raw`, a body for this path below `/v1/`.

    Raises InvalidRequest unless it is a JSON object with a model, a valid `stream`, if any, and numbers in range.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The request body is not valid JSON ({str(error)[:100]}). Send a JSON object in UTF-8.",
            code="invalid_json",
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_json")
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest(
            "'model' is missing or is not a string. Name a route, a model key or a model id; "
            "GET /v1/models lists them.",
            code="missing_model",
            param="model",
        )
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("'stream' must be true or false.", param="stream")
    return ParsedBody(model, stream is True, raw, claim_of(endpoint, value, raw), caller.of_body(value))


def loggable(name: str) -> str:
    """A client's text, safe for a log and for every database: short and without control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in name[:200])
