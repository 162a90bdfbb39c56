"""`/livez` and `/readyz`: whether this process is alive, and whether it is ready. `/health` is for clients that ask it.

Answered in front of Django, from separate threads, so that they answer while Django or the database hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from models_app.domain.errors import InvalidRequest, NoaError, PermissionDenied, Unauthenticated
from models_app.domain.residency.readiness import OK, PartReport, failed
from models_app.domain.scopes import may_use
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.http import errors
from models_app.gateway.http.single_flight import SingleFlight
from models_app.gateway.http.types import Header, Receive, Scope, Send

LIVE_PATH, READY_PATH, HEALTH_PATH = "/livez", "/readyz", "/health"
# Shorter than the usual timeouts of container probes.
LIMIT_SECONDS = 2.0
# How long a result is cached: a flood of probes must not cause a flood of queries.
_CACHE_SECONDS = 1.0
# Path to the answer, and its type. `/health` has the form of llama-server's.
_ALIVE = {LIVE_PATH: (b"ok\n", b"text/plain"), HEALTH_PATH: (b'{"status":"ok"}', b"application/json")}

# '' when it works, else the reason as a sentence; or a report. Can block: it runs on a separate thread.
Check = Callable[[], str | PartReport]
# Called with the `model` of a request: whether it would be answered. Can block, too.
ModelCheck = Callable[[str], PartReport]

# The parameters of `/readyz`: parts that must be ok too, and a model whose requests must be answered.
_REQUIRE, _MODEL = "require", "model"
# Bounds the names whose results are kept.
_MAX_NAMES = 64


class Part:
    """One part of the server. At most one thread waits for a check that hangs."""

    def __init__(self, name: str, check: Check) -> None:
        def report() -> PartReport:
            found = check()
            return failed(found) if isinstance(found, str) else found

        self.name = name
        self._check = SingleFlight(f"ready-{name}", report, initial=OK, failure=_failure)

    async def report(self) -> PartReport:
        """Within LIMIT_SECONDS."""
        try:
            return await self._check.result(timeout=LIMIT_SECONDS, cache=_CACHE_SECONDS)
        except TimeoutError:
            return failed(f"It did not answer within {LIMIT_SECONDS:g} seconds.")


def _failure(error: Exception) -> PartReport:
    return failed(f"The check failed: {type(error).__name__}.")


class Probes:
    """ASGI callable for the three paths. Only requests from this machine, or with a key, get the reasons.

    A process is ready when it can answer requests at all: its `required` parts work, and it is not stopping. `reported`
    parts are shared by all web processes, or about one model: while one fails, a load balancer gains nothing by sending
    requests elsewhere, so that the state is `degraded`, with status 200.
    """

    def __init__(
        self,
        reported: Mapping[str, Check],
        doorway: Doorway,
        *,
        required: Mapping[str, Check] | None = None,
        model: ModelCheck | None = None,
    ) -> None:
        self._required = frozenset(required or ())
        self._parts = [Part(name, check) for name, check in {**(required or {}), **reported}.items()]
        self._names = frozenset(part.name for part in self._parts)
        self._model = model
        self._models: dict[str, Part] = {}
        self._doorway = doorway
        # Set when the shutdown begins: load balancers should stop sending requests before this process does.
        self.closing = False

    @staticmethod
    def answers(scope: Scope) -> bool:
        return scope["type"] == "http" and (scope["path"] in _ALIVE or scope["path"] == READY_PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] == READY_PATH:
                self._doorway.check_address(scope)
            check_is_read(scope)
        except NoaError as error:
            await send_error(send, error)
            return
        if scope["path"] == READY_PATH:
            await self._answer(scope, send)
        else:
            await send_plain(send, 200, *_ALIVE[scope["path"]])

    async def _answer(self, scope: Scope, send: Send) -> None:
        reader = self._reader(scope)
        try:
            require, model = self._parameters(scope, reader)
        except NoaError as error:
            await send_error(send, error)
            return
        ready, body = await self._readiness(require, model)
        if reader is None:
            body = {"ready": ready}
        await send_plain(send, 200 if ready else 503, orjson.dumps(body), b"application/json")

    def _parameters(self, scope: Scope, reader: frozenset[str] | None) -> tuple[frozenset[str], str]:
        """The further parts that are required, and the model, or ''. Raises InvalidRequest or PermissionDenied."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        require = frozenset(name for text in query.get(_REQUIRE, ()) for name in text.split(",") if name)
        if unknown := require - self._names:
            parts = ", ".join(sorted(self._names))
            raise InvalidRequest(f"There is no part '{min(unknown)[:40]}'. Use some of: {parts}.", param=_REQUIRE)
        model = query.get(_MODEL, [""])[-1]
        # The answer reveals which names exist.
        if model and reader is None and model != CURRENT_ROUTE:
            raise InvalidRequest(f"Without an API key, '{_MODEL}' can only be '{CURRENT_ROUTE}'.", param=_MODEL)
        if model and not may_use(reader or frozenset(), model):
            raise PermissionDenied("This API key does not allow that model.", code="model_not_allowed", param=_MODEL)
        return require, model

    async def _readiness(self, require: frozenset[str], model: str) -> tuple[bool, dict[str, Any]]:
        if self.closing:
            return False, {"ready": False, "state": "stopping", "why": "The server is stopping."}
        asked = [*self._parts, self._of_model(model)] if model and self._model else self._parts
        reports = await asyncio.gather(*(part.report() for part in asked))
        parts = {part.name: report for part, report in zip(self._parts, reports, strict=False)}
        ready = all(parts[name].is_ok for name in self._required | require)
        if len(asked) > len(self._parts):
            ready = ready and reports[-1].would_answer
        is_degraded = not all(report.is_ok for report in reports)
        state = "not_ready" if not ready else "degraded" if is_degraded else "ready"
        body: dict[str, Any] = {
            "ready": ready,
            "state": state,
            "parts": {name: _shown(report) for name, report in parts.items()},
        }
        if len(asked) > len(self._parts):
            body["model"] = {"name": model} | _shown(reports[-1])
        return ready, body

    def _of_model(self, name: str) -> Part:
        """The check of one name; the oldest makes room for a new one."""
        check = self._model
        assert check is not None
        part = self._models.get(name)
        if part is None:
            if len(self._models) >= _MAX_NAMES:
                del self._models[next(iter(self._models))]
            part = self._models[name] = Part("model", lambda: check(name))
        return part

    def _reader(self, scope: Scope) -> frozenset[str] | None:
        """The names that a client can ask for, empty for all; None for a client that gets no reasons."""
        try:
            self._doorway.check_host(scope)
            return frozenset() if self._doorway.is_open_to(scope) else self._doorway.key(scope).allowed_models
        except (InvalidRequest, PermissionDenied, Unauthenticated):
            return None


def _shown(report: PartReport) -> dict[str, Any]:
    return {"ok": report.is_ok, "state": report.state.value, "why": report.why}


async def send_plain(send: Send, status: int, body: bytes, kind: bytes, more: list[Header] | None = None) -> None:
    """Sends a whole answer that must not be cached."""
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *(more or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check_is_read(scope: Scope) -> None:
    """Raises NotAllowed for a method other than GET and HEAD."""
    if scope["method"] not in ("GET", "HEAD"):
        raise errors.NotAllowed(f"{scope['path']} can only be read. Use one of: GET, HEAD.", allow="GET, HEAD")


async def send_error(send: Send, error: NoaError) -> None:
    more = errors.headers(error)[1:]
    await send_plain(send, error.http_status, orjson.dumps(error.body()), b"application/json", more)
