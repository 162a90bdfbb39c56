"""A web process: uvicorn with NOA's HTTP protocol, serving `noa_site.asgi` on a bound socket."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from django.conf import settings

from models_app.gateway.http.server import FrontProtocol, Server, default_connections
from noa_site.asgi import application

# Time for open streams at a shutdown; less than the default of process supervisors.
DRAIN_SECONDS = 30


def serve(listener: socket.socket, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Blocks until SIGINT or SIGTERM; then refuses new requests, finishes those in flight, and returns.

    At SIGHUP it leaves new connections to the other processes on this socket and finishes its own.
    """
    config = uvicorn.Config(
        application,
        http=FrontProtocol,
        loop="uvloop",
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Any client on loopback could claim any address: only the headers of trusted proxies are used.
        proxy_headers=bool(settings.NOA_TRUSTED_PROXIES),
        forwarded_allow_ips=settings.NOA_TRUSTED_PROXIES,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )

    async def end_requests() -> None:
        # A handover has already waited for them.
        await application.close(0 if server.handing_over else DRAIN_SECONDS)

    server = Server(
        config,
        end_requests,
        on_ready=on_ready,
        leave=application.leave,
        connections=default_connections(settings.NOA_MAX_CONNECTIONS, settings.NOA_MAX_CONNECTIONS_PER_ADDRESS),
        trusted_proxies=settings.NOA_TRUSTED_PROXIES,
    )

    def hand_over(number: int, frame: FrameType | None) -> None:
        server.hand_over()

    signal.signal(signal.SIGHUP, hand_over)
    server.run(sockets=[listener])
