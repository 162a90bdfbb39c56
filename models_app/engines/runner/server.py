"""The runner's router: paths to endpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from models_app.domain import json_body
from models_app.domain.errors import EngineError, InvalidRequest, NotFound
from models_app.engines import marks
from models_app.engines.runner.batching.batcher import Batcher
from models_app.engines.runner.endpoints import chat, completions, embeddings
from models_app.engines.runner.http import Request
from models_app.engines.runner.state import State

# The caller's own timeout is far below.
_MAX_WAIT = 3600.0

Infer = Callable[[State, Request, Mapping[str, Any]], Awaitable[None]]
Answer = Callable[[Request], Awaitable[None]]


class MethodNotAllowed(InvalidRequest):
    http_status = 405
    default_code = "method_not_allowed"


class Server:
    """Answers requests; one per runner. Connections call `answer`."""

    def __init__(self, state: State, batcher: Batcher) -> None:
        self._state = state
        self._batcher = batcher
        self._routes: Mapping[str, tuple[str, Answer]] = {
            "/health": ("GET", self._health),
            "/drain": ("POST", self._drain),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._inference(chat.complete)),
            "/v1/chat/tokens": ("POST", self._inference(chat.count)),
            "/v1/completions": ("POST", self._inference(completions.complete)),
            "/v1/embeddings": ("POST", self._inference(embeddings.embed)),
        }

    async def answer(self, request: Request) -> None:
        if request.path not in self._routes:
            raise NotFound(f"Unknown path '{json_body.shown(request.path)}'.")
        method, answer = self._routes[request.path]
        if request.method != method:
            raise MethodNotAllowed(f"{request.path} accepts {method} requests only.")
        await answer(request)

    def _inference(self, infer: Infer) -> Answer:
        drain, mark = self._state.drain, self._state.marks.loop

        async def work(request: Request) -> None:
            await infer(self._state, request, json_body.decode(bytes(request.body)))

        async def answer(request: Request) -> None:
            with drain:
                try:
                    marks.current.set(request.work_id)
                    await mark.stepping(work(request))
                    await request.flushed()
                finally:
                    if "probe" not in request.query:
                        drain.used()

        return answer

    async def _health(self, request: Request) -> None:
        drain, batcher = self._state.drain, self._batcher
        if not batcher.alive:
            raise EngineError("The decode thread has exited. Load the model again.")
        request.respond(
            200,
            {
                "state": "draining" if drain.draining else "ready",
                "in_flight": drain.in_flight,
                "queued": batcher.queued,
                "idle_seconds": round(drain.idle_seconds, 3),
                "pid": os.getpid(),
                "slots": {"total": self._state.spec.slots, "busy": batcher.slots_busy},
                "memory": self._state.memory(),
                "counters": batcher.counters,
            },
        )

    async def _drain(self, request: Request) -> None:
        drain = self._state.drain
        if "if_idle" in request.query:
            draining = drain.start_if_idle()
            request.respond(200, {"draining": draining, "in_flight": drain.in_flight})
            return
        wait = _seconds(request.query.get("wait", ["0"])[-1])
        request.respond(200, {"in_flight": await drain.start(wait)})

    async def _models(self, request: Request) -> None:
        model = {
            "id": self._state.spec.model,
            "object": "model",
            "created": self._state.created,
            "owned_by": "noa",
        }
        request.respond(200, {"object": "list", "data": [model]})


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_WAIT:
        raise InvalidRequest(f"'wait' must be 0 to {_MAX_WAIT:g} seconds.", param="wait")
    return seconds
