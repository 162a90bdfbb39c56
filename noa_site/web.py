"""The web process: uvicorn with NOA's front, serving `noa_site.asgi` on a socket that is already bound."""

from __future__ import annotations

import socket

import uvicorn

from models_app.gateway.server import FrontProtocol, Server
from noa_site.asgi import application

# What a shutdown gives to streams that are still open; less than what supervisors of processes allow by default.
DRAIN_SECONDS = 30


def serve(listener: socket.socket) -> None:
    """Blocks until SIGINT or SIGTERM; then refuses what is new, lets what runs end, and returns."""
    config = uvicorn.Config(
        application,
        http=FrontProtocol,
        loop="uvloop",
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whoever asks from loopback could name any address; a proxy in front is a later setting.
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )

    async def end_requests() -> None:
        await application.close(DRAIN_SECONDS)

    Server(config, end_requests).run(sockets=[listener])
