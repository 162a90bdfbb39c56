"""The OpenAI-compatible gateway: a plain ASGI application for `/v1`.

The order of a request: host, size, key, JSON, route, runner, answer, record, all without SQL and Django.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from itertools import count

from models_app import clocks
from models_app.domain import request_context
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.pricing import Price, cost
from models_app.domain.errors import ModelNotFound, NoaError, NotFound
from models_app.domain.records import caller
from models_app.domain.records.access import AccessRecord
from models_app.domain.residency import demand
from models_app.domain.scopes import Scope as KeyScope
from models_app.domain.traffic.routing import KeyEntry, RemoteEndpoint, Resolution
from models_app.domain.traffic.texts import CapturedText
from models_app.engines.trust import NodeTrust
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.keep_alive import KeepAlive
from models_app.gateway.calls.limiting import Limiter
from models_app.gateway.dialects import dialects, passing
from models_app.gateway.forwarding.circuits import Circuits, Contacts, Report, unreported, unreported_contact
from models_app.gateway.forwarding.relay import Relay
from models_app.gateway.forwarding.remote import Remote
from models_app.gateway.forwarding.runners import ConcurrencyLimit, Runners
from models_app.gateway.http import auth, request_body
from models_app.gateway.http.bodies import Bodies, Body
from models_app.gateway.http.errors import JSON, NotAllowed, ServerStopping
from models_app.gateway.http.request_body import ClientLeft, Hosts, Limits, ParsedBody
from models_app.gateway.http.types import ANSWER_EXTENSION, Receive, Scope, Send, prove
from models_app.gateway.http.watch import Watches
from models_app.gateway.recording.recorder import Recorder
from models_app.gateway.recording.refusals import Refusals
from models_app.gateway.recording.texts import Texts
from models_app.gateway.routing.inference import Endpoint, Inference
from models_app.gateway.routing.least_busy import LeastBusy
from models_app.gateway.routing.model_list import ModelList, anthropic_list, openai_list
from models_app.gateway.routing.model_loader import ModelLoader, NoModelLoader
from models_app.gateway.routing.pending import PendingRequests
from models_app.gateway.routing.refreshing import SnapshotRefresher, SnapshotSource
from models_app.gateway.routing.resolving import Resolver, may_use
from models_app.gateway.routing.searching import SearchContext
from models_app.gateway.upstream.dialing import Dialer
from models_app.gateway.upstream.nodes import Nodes
from models_app.gateway.upstream.upstream import Upstream
from models_app.providers.wire import sse

logger = logging.getLogger(__name__)

ENDPOINTS = (
    Endpoint("chat/completions", "/v1/chat/completions", Capability.CHAT_COMPLETION),
    Endpoint("completions", "/v1/completions", Capability.TEXT_GENERATION),
    Endpoint("embeddings", "/v1/embeddings", Capability.EMBEDDINGS),
    Endpoint("responses", "/v1/responses", Capability.CHAT_COMPLETION, dialects.RESPONSES),
    Endpoint("messages", "/v1/messages", Capability.CHAT_COMPLETION, dialects.MESSAGES),
    Endpoint(
        "messages/count_tokens",
        "/v1/messages/count_tokens",
        Capability.CHAT_COMPLETION,
        dialects.COUNT_TOKENS,
    ),
)

# nginx's status for a client that closed the connection before its answer; it is never sent, only recorded.
CLIENT_LEFT_STATUS = 499

_MODELS = "/v1/models"
# At shutdown: for the error answers of requests that are cancelled, and for storing the last records.
_LAST_ANSWERS_SECONDS = 2.0
_FLUSH_SECONDS = 10.0


def _unkept(texts: list[CapturedText]) -> None:
    """For a gateway that stores no texts."""


class Gateway:
    """ASGI callable for `http` scopes under `/v1`. One per process; `close` ends it.

    It belongs to the event loop in which it answers its first request.
    """

    def __init__(
        self,
        snapshots: SnapshotSource,
        recorder: Recorder,
        limits: Limits | None = None,
        *,
        report: Report = unreported,
        contacts: Contacts = unreported_contact,
        texts: Texts | None = None,
        dialer: Dialer | None = None,
        trust: NodeTrust | None = None,
        loader: ModelLoader | None = None,
        limiter: Limiter | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        """`report` is called at every change of a provider's circuit, `contacts` after requests to it. `dialer`
        connects to providers; `trust` holds the credentials for nodes on other machines.

        `limiter` applies the limits of API keys; without one they are counted in this process. `bodies` bounds the
        bodies of this process together.

        `loader` loads models that requests wait for; the owner of both reports the results to `pending`.
        """
        self._limits = limits or Limits()
        self._snapshots = snapshots
        self._recorder = recorder
        self._refusals = Refusals(recorder.record)
        self._texts = texts or Texts(_unkept)
        self._hosts = Hosts(self._limits.allowed_hosts)
        self._bodies = bodies or Bodies(32 * self._limits.max_body_bytes)
        self._upstream = Upstream(self._limits)
        self._circuits = Circuits(report, contacts)
        remote = Remote(self._upstream, self._limits, self._circuits, dialer or Dialer())
        loader = loader or NoModelLoader()
        self.pending = PendingRequests(loader, self._limits.queue_limit)
        least_busy = LeastBusy(lambda: asyncio.get_running_loop().time())
        runners = Runners(
            self._upstream,
            Nodes(trust or NodeTrust()),
            least_busy,
            ConcurrencyLimit(self._limits.queue_limit),
            loader,
        )
        resolver = Resolver(loader, least_busy)
        context = SearchContext(snapshots, SnapshotRefresher(snapshots), resolver, self.pending, loader)
        self._relay = Relay(snapshots, resolver, context, remote, runners)
        self.limiter = limiter or Limiter()
        self._watches = Watches(self._limits, self._key_problem)
        self._keys_in_use = auth.KeysInUse()
        self._model_list, self._anthropic_list = openai_list(), anthropic_list()
        self._key_refresher = SnapshotRefresher(snapshots)
        self._endpoints = {endpoint.path: (endpoint, endpoint.head()) for endpoint in ENDPOINTS}
        self._ids = count(1)
        self._active: set[asyncio.Task[object]] = set()
        self._closing = False
        self._drained = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_body.pick(scope["headers"])
        request_id = request_body.valid_request_id(headers.get(b"x-request-id"))
        record = AccessRecord(
            f"{self._recorder.id}-{next(self._ids):x}",
            time.time(),
            "",
            client=auth.client_of(scope),
            client_request_id=request_id or "",
        )
        request_context.request_id.set(record.public_id)
        task = _this_task()
        call = Call(receive, send, record, task)
        method, path = scope["method"], scope["path"]
        caller.note_headers(record, headers)
        found = self._endpoints.get(path) if method == "POST" else None
        if found is None:
            call.body_read = True
            work = self._read(call, method, path, headers)
        else:
            endpoint = found[0]
            record.endpoint = endpoint.name
            if endpoint.dialect is not None:
                call.error_body = endpoint.dialect.error_body
            extension = scope.get("extensions", {}).get(ANSWER_EXTENSION)
            call.answer_whole = extension["whole"] if extension else None
            work = self._infer(call, *found, headers, scope)
        self._active.add(task)
        started = time.perf_counter()
        try:
            await self._guard(call, work)
        finally:
            if call.body is not None:
                call.body.free()
            call.meter.settle(record)
            if call.permit is not None:
                self.limiter.settle(call.permit, record)
            if record.endpoint:
                record.duration_ms = (time.perf_counter() - started) * 1000
                if call.is_marked or record.attempts or record.status < 400:
                    self._recorder.record(record)
                else:
                    self._refusals.take(record)
                if call.captured is not None:
                    self._texts.keep(record, call.captured)
            self._active.discard(task)
            if self._closing and not self._active:
                self._drained.set()

    def provider_wait(self, remote: RemoteEndpoint) -> float:
        """Seconds for which a provider gets no requests from this process. Callable from every thread."""
        return self._circuits.wait(remote, time.monotonic())

    async def close(self, deadline: float) -> None:
        """Refuses new requests, waits `deadline` seconds for those in flight, cancels the rest, stores all records.

        Call it while the server still listens, so that new requests are answered with 503 and 'Retry-After'.
        """
        self._closing = True
        self.pending.close()
        if self._active:
            try:
                async with clocks.timeout(deadline):
                    await self._drained.wait()
            except TimeoutError:
                await self._end_active()
        self._upstream.close()
        await self.limiter.close()
        self._refusals.flush()
        await asyncio.to_thread(self._recorder.flush, _FLUSH_SECONDS)

    async def _end_active(self) -> None:
        for task in self._active:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with clocks.timeout(_LAST_ANSWERS_SECONDS):
                await self._drained.wait()

    async def _guard(self, call: Call, work: Coroutine[None, None, None]) -> None:
        """Turns every error of `work` into an answer, or at least into a correct record."""
        record = call.record
        try:
            await work
        except NoaError as error:
            await call.fail(error)
        except ClientLeft:
            if not call.answered:
                record.status = CLIENT_LEFT_STATUS
                record.error_code = "client_left"
                record.aborted = True
        except asyncio.CancelledError:
            record.aborted = True
            if not self._closing:
                raise
            call.task.uncancel()
            await call.fail(ServerStopping())
        except Exception:
            logger.exception("Internal error of the gateway in request %s.", record.public_id)
            await call.fail(
                NoaError("Internal error of the gateway. The server log has the details under this request id.")
            )

    async def _infer(
        self, call: Call, endpoint: Endpoint, head: bytes, headers: dict[bytes, bytes], scope: Scope
    ) -> None:
        self._hosts.check(headers.get(b"host"))
        if self._closing:
            raise ServerStopping
        limits = self._limits
        request_body.check_size(headers, limits.max_body_bytes)
        await self._authenticate(call, headers)
        prove(scope)
        call.body = Body(self._bodies, call.key.key_id)
        call.body.grow_to(int(headers.get(b"content-length", 0)))
        raw = await request_body.read_body(call.receive, limits.max_body_bytes, call.body)
        call.body_read = True
        body = request_body.parse(raw, endpoint.name)
        call.record.stream = body.stream
        call.meter.claim = body.claim
        caller.note_body(call.record, body.stated)
        patience = limits.wait_seconds
        if b"x-noa-wait" in headers or b"prefer" in headers:
            patience = demand.patience(headers, patience)
        resolution = self._snapshots.current.resolve(body.model)
        key_limits = call.key.limits
        if key_limits is not None:
            call.record.requested_model = request_body.loggable(body.model)
            prices = self._prices(resolution)
            call.permit = await self.limiter.admit(call, key_limits, body.claim, prices)
        self._begin(call, body, resolution)
        if self._snapshots.current.text_rules:
            call.captured = self._texts.begin(self._snapshots.current, call.record, body)
        watch = self._watches.start(call.receive, call.task, call.record)
        try:
            passed = passing.passed(endpoint.dialect, headers)
            await self._forward(Inference(call, endpoint, head, body, patience, watch, passed))
        except asyncio.CancelledError:
            if watch.verdict is None:
                raise
            call.task.uncancel()
            raise watch.verdict from None
        finally:
            self._watches.stop(watch)

    async def _forward(self, inference: Inference) -> None:
        call, dialect, body = inference.call, inference.endpoint.dialect, inference.body
        if not body.stream or (dialect is not None and dialect.is_count):
            await self._relay.forward(inference)
            return
        if dialect is not None:
            stream = dialect.translation.stream(model=body.model)
            call.error_event = lambda error, _: stream.error(error)
        ping = dialect.ping if dialect is not None else sse.PING
        with KeepAlive(call, inference.watch, ping, self._limits.ping_seconds) as inference.keep_alive:
            await self._relay.forward(inference)

    def _begin(self, call: Call, body: ParsedBody, resolution: Resolution | None) -> None:
        """Marks the request, so that it has a row in the access log even if this process is killed.

        One for a name that the key cannot use is going to be refused: such rows are bounded.
        """
        if resolution is None or not may_use(call.key, resolution.route, resolution.model):
            return
        call.is_marked = True
        model = resolution.model
        usage = body.claim.expected
        amount = cost(model.target.price, usage) if model and model.target else None
        self._recorder.begin(
            call.record,
            requested_model=request_body.loggable(body.model),
            route=resolution.route or "",
            model_key=model.key if model else "",
            provider=model.provider if model else "",
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            cost_usd=None if amount is None else float(amount),
        )

    def _prices(self, resolution: Resolution | None) -> list[Price | None]:
        """Of the models that can answer a request."""
        if resolution is None:
            return []
        snapshot = self._snapshots.current
        fallbacks = [snapshot.models.get(key) for key in snapshot.fallbacks.get(resolution.route or "", ())]
        return [model.target.price for model in (resolution.model, *fallbacks) if model and model.target]

    async def _read(self, call: Call, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        """Answers everything but inference: the list of models, and the errors of wrong paths and methods."""
        self._hosts.check(headers.get(b"host"))
        allow = _allowed_methods(path, path in self._endpoints)
        if method == "OPTIONS":
            await call.start(204, [(b"allow", allow.encode("ascii"))])
            await call.finish()
            return
        if method not in allow:
            raise NotAllowed(f"{method[:20]} is not allowed at {path[:100]}. Use one of: {allow}.", allow=allow)
        if self._closing:
            raise ServerStopping
        await self._authenticate(call, headers)
        # Anthropic's clients send it with each request.
        models = self._anthropic_list if b"anthropic-version" in headers else self._model_list
        await call.answer(200, [JSON], self._listed(models, path, call.key))

    def _listed(self, models: ModelList, path: str, key: KeyEntry) -> bytes:
        snapshot = self._snapshots.current
        if path == _MODELS:
            return models.listing(snapshot, key)
        name = path[len(_MODELS) + 1 :]
        entry = models.entry(snapshot, name, key)
        if entry is None:
            raise ModelNotFound(
                f"There is no route or model '{name[:100]}'. GET /v1/models lists them.",
                param="model",
            )
        return entry

    async def _authenticate(self, call: Call, headers: dict[bytes, bytes]) -> None:
        record = call.record
        client, now = record.client, record.started_at
        try:
            entry = auth.authenticate(headers, client, self._snapshots.current.keys, now)
        except auth.UnknownKey:
            if not await self._key_refresher.refresh("an API key is unknown"):
                raise
            entry = auth.authenticate(headers, client, self._snapshots.current.keys, now)
        record.key_id = entry.key_id
        call.key = entry
        auth.require(entry, KeyScope.INFER)

    def _key_problem(self, record: AccessRecord) -> NoaError | None:
        """The error that ends a request in flight whose key is not good any more; None while it is."""
        return self._keys_in_use.problem(self._snapshots.current, record.key_id, record.client, time.time())


def _allowed_methods(path: str, is_endpoint: bool) -> str:
    if is_endpoint:
        return "POST, OPTIONS"
    if path == _MODELS or path.startswith(_MODELS + "/"):
        return "GET, HEAD, OPTIONS"
    raise NotFound(
        f"Unknown path {path[:100]}. The gateway serves {', '.join(e.path for e in ENDPOINTS)} and {_MODELS}."
    )


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
