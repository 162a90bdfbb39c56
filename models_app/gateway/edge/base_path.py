"""A server below a path of another one, such as `/llm`: behind a proxy that strips the path, or does not."""

from __future__ import annotations

from models_app.gateway.http.types import ASGIApp, Receive, Scope, Send


def stripped(scope: Scope, base: str) -> Scope:
    """The scope of a request without the base path, which a proxy can have stripped already."""
    if not base or scope["type"] != "http":
        return scope
    path: str = scope["path"]
    if path != base and not path.startswith(base + "/"):
        return scope
    return {**scope, "path": path.removeprefix(base) or "/"}


def restored(app: ASGIApp, base: str) -> ASGIApp:
    """For an application that builds links from the path of its request."""
    if not base:
        return app

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": base + scope["path"]}
        await app(scope, receive, send)

    return below
