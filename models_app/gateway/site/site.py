"""One web process: the gateway in front of Django, with the limits that Django lacks, from start-up to shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import connection

from models_app.domain.errors import NoaError
from models_app.domain.records.refusals import PERIOD_SECONDS
from models_app.domain.residency.breaker import BreakerState
from models_app.domain.residency.contact import Contact
from models_app.domain.residency.readiness import PartReport
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.domain.traffic.texts import CapturedText
from models_app.gateway.calls.limiting import Limiter
from models_app.gateway.edge import base_path
from models_app.gateway.edge.app import Gateway
from models_app.gateway.edge.cors import Cors
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.entrance import Entrance
from models_app.gateway.edge.front import Front
from models_app.gateway.edge.metrics import MetricsPage
from models_app.gateway.edge.readiness import Probes, send_error
from models_app.gateway.edge.reports import Reports
from models_app.gateway.http.bodies import Bodies
from models_app.gateway.http.request_body import Hosts, Limits
from models_app.gateway.http.server import settle_memory
from models_app.gateway.http.types import ASGIApp, Message, Receive, Scope, Send
from models_app.gateway.recording.recorder import Recorder
from models_app.gateway.recording.texts import Texts
from models_app.gateway.routing.refreshing import SnapshotRefresher
from models_app.gateway.site.demand import DatabaseModelLoader
from models_app.gateway.site.sessions import Sessions
from models_app.gateway.site.snapshots import LiveSnapshots
from models_app.gateway.site.spending import Spending
from models_app.services.access_log import quarantine, texts
from models_app.services.access_log.shipping import Shipper
from models_app.services.catalog import activity
from models_app.services.coordination import audit, connections
from models_app.services.coordination.notifications import follower
from models_app.services.events.event_stream import hub
from models_app.services.lifecycle import on_demand
from models_app.services.nodes.observing import observer
from models_app.services.providers import breakers, contacts
from models_app.services.reporting import exposition, readiness
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)


def store_circuit(provider: str, state: BreakerState, reason: str) -> None:
    """Stores a circuit's change of state; called by the thread of `Reports`."""
    try:
        breakers.report(slug=provider, state=state, reason=reason)
    finally:
        connection.close()


def store_contact(provider: str, contact: Contact, reason: str, wait: float) -> None:
    """Stores what a request met at a provider; called by the thread of `Reports`."""
    try:
        contacts.report(slug=provider, contact=contact, reason=reason, pause=wait)
    finally:
        connection.close()


def store_texts(found: list[CapturedText]) -> None:
    """Stores chosen texts; called by the thread of `Texts`."""
    try:
        texts.store(found)
    finally:
        connection.close()


Result = TypeVar("Result")


def _closing(query: Callable[[], Result]) -> Callable[[], Result]:
    """`query`, followed by closing the thread's database connection."""

    def closing() -> Result:
        try:
            return query()
        finally:
            connection.close()

    return closing


def _limiter(spending: Spending) -> Limiter:
    """Counts in Redis if that is configured; its library takes a tenth of a second to import, so only then."""
    if settings.NOA_LIMITS_URL is None:
        return Limiter(report=spending.report)
    from models_app.gateway.calls import redis_limits

    counters = redis_limits.RedisCounters(settings.NOA_LIMITS_URL)
    return Limiter(counters, failures=redis_limits.Failure, report=spending.report)


class Site:
    """ASGI application. Snapshots and recorder live from lifespan start-up to lifespan shutdown."""

    def __init__(self, django: ASGIApp) -> None:
        self.snapshots = LiveSnapshots()
        self.bodies = Bodies(settings.NOA_MAX_BODIES_BYTES)
        doorway = Doorway(
            lambda: self.snapshots.current.keys,
            Hosts(settings.ALLOWED_HOSTS),
            is_open_here=settings.NOA_OPEN_TO_LOOPBACK,
            refresh=SnapshotRefresher(self.snapshots).refresh,
        )
        self._django = Front(
            self._entrance(django), settings.NOA_MAX_BODY_BYTES, self.bodies, doorway, Sessions().owner
        )
        self.shipper = Shipper(lambda: self.recorder.origin())
        self.recorder = Recorder(self.shipper)
        self.reports = Reports(store_circuit, store_contact)
        self.texts = Texts(store_texts)
        self._summaries = RepeatingThread(
            "refused-calls", _closing(audit.write_summaries), lambda: PERIOD_SECONDS, at_once=False
        )
        limits = Limits(
            max_body_bytes=settings.NOA_MAX_BODY_BYTES,
            allowed_hosts=tuple(settings.ALLOWED_HOSTS),
            wait_seconds=settings.NOA_COLD_WAIT,
            ping_seconds=settings.NOA_STREAM_PING,
            queue_limit=settings.NOA_QUEUE_LIMIT,
        )
        self.spending = Spending(lambda: self.snapshots.current, lambda: self.gateway.limiter)
        self.loader = DatabaseModelLoader(self.snapshots.follow)
        self.gateway = Gateway(
            self.snapshots,
            self.recorder,
            limits,
            report=self.reports.report,
            contacts=self.reports.contact,
            texts=self.texts,
            trust=settings.NOA_NODE_TRUST,
            loader=self.loader,
            limiter=_limiter(self.spending),
            bodies=self.bodies,
        )
        self._gateway_app: ASGIApp = self.gateway
        if settings.NOA_CORS_ORIGINS:
            self._gateway_app = Cors(self.gateway, settings.NOA_CORS_ORIGINS)
        self.snapshots.listener = self.gateway.pending.wake
        self.metrics = MetricsPage(_closing(exposition.page), doorway)
        self.probes = Probes(
            {
                "database": connections.beside_the_pool(readiness.database),
                "broker": readiness.broker,
                "worker": connections.beside_the_pool(readiness.worker),
                "current": connections.beside_the_pool(lambda: self._would_answer(CURRENT_ROUTE)),
            },
            doorway,
            required={
                "schema": connections.beside_the_pool(readiness.schema),
                "snapshot": lambda: readiness.snapshot(self.snapshots.current),
            },
            model=lambda name: connections.beside_the_pool(lambda: self._would_answer(name))(),
        )

    def _would_answer(self, model: str) -> PartReport:
        outside = readiness.Outside(
            obstacle=lambda key, permission: on_demand.obstacle(key=key, permission=permission),
            provider_wait=self.gateway.provider_wait,
        )
        return readiness.answers(self.snapshots.current, model, outside)

    def _entrance(self, django: ASGIApp) -> Entrance:
        return Entrance(
            base_path.restored(django, settings.NOA_BASE_PATH),
            places=settings.NOA_DJANGO_PLACES,
            log_in_path=str(settings.LOGIN_URL).removeprefix(settings.NOA_BASE_PATH),
            session_cookie=settings.SESSION_COOKIE_NAME,
            keys=lambda: self.snapshots.current.keys,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = base_path.stripped(scope, settings.NOA_BASE_PATH)
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and (scope["path"] == "/v1" or scope["path"].startswith("/v1/")):
            await self._gateway_app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything but the gateway. An error of ours is answered with JSON, unless an answer has begun."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if self.metrics.answers(scope):
                await self.metrics(scope, receive, noted)
            elif self.probes.answers(scope):
                await self.probes(scope, receive, noted)
            else:
                await self._django(scope, receive, noted)
        except Exception:
            if begun:
                raise
            logger.exception("Internal error at %s.", scope["path"][:200])
            await send_error(send, NoaError("Internal error. The server log has the details."))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.to_thread(self._start, asyncio.get_running_loop())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # The requests have ended by now: the server waits for them before it sends the shutdown event.
        await asyncio.to_thread(self._stop)
        await send({"type": "lifespan.shutdown.complete"})

    def leave(self) -> None:
        """Ends the event streams, whose clients reconnect to another process and continue there."""
        hub.close()

    async def close(self, deadline: float) -> None:
        """Fails the readiness check, then finishes requests in flight; call it while the server still listens.

        Event streams are ended at once, since they never finish by themselves.
        """
        self.probes.closing = True
        hub.close()
        await self.gateway.close(deadline)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.snapshots.start()
            self.spending.start(loop)
            pending = self.gateway.pending
            self.loader.start(end_wait=pending.end_wait, wake_requests=pending.wake)
            hub.start()
            observer.start()
            follower.start()
        finally:
            connection.close()
        self.recorder.open(quarantine.folder(), node=settings.NOA_NODE)
        activity.start()
        self._summaries.start()
        settle_memory()

    def _stop(self) -> None:
        follower.stop()
        observer.stop()
        self.recorder.close()
        self.shipper.close()
        self.texts.close()
        hub.stop()
        self._summaries.stop()
        _closing(lambda: audit.write_summaries(every=True))()
        activity.stop()
        self.loader.stop()
        self.spending.stop()
        self.snapshots.stop()
