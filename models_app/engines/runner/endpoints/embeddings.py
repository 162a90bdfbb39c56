"""POST /v1/embeddings"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from models_app.domain.errors import EngineError, InvalidRequest
from models_app.domain.traffic import inference
from models_app.engines.runner.batching.dispatch import Dispatch
from models_app.engines.runner.batching.generation import Embedded, Embedding, Event, Failed
from models_app.engines.runner.http import Request
from models_app.engines.runner.state import State


async def embed(state: State, request: Request, data: Mapping[str, Any]) -> None:
    """Answer one embedding request. Inputs that do not fit are refused, never truncated."""
    fields = inference.parse_embedding(data)
    if not state.model.can_embed:
        raise InvalidRequest("This model does not compute embeddings.", code="embeddings_not_supported", param="model")
    if fields.dimensions not in (None, state.model.n_embd):
        raise InvalidRequest(
            f"This model's embeddings have {state.model.n_embd} dimensions; it cannot shorten them.",
            param="dimensions",
        )
    prompts = [await state.tokens(prompt, param="input") for prompt in fields.inputs]
    batch = _Batch(state.dispatch, prompts, together=state.spec.slots)
    request.on_left = batch.leave
    results = await batch.finish()
    tokens = sum(len(prompt) for prompt in prompts)
    if batch.was_left:
        request.respond(200, {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
        return
    request.respond(
        200,
        {
            "object": "list",
            "data": [_item(n, result, fields.base64) for n, result in enumerate(results)],
            "model": state.spec.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
    )


class _Batch:
    """Embeds many inputs, at most `together` at a time, so that a long list does not fill the queue."""

    def __init__(self, dispatch: Dispatch, prompts: Sequence[Sequence[int]], *, together: int) -> None:
        self._dispatch = dispatch
        self._works = [Embedding(prompt) for prompt in prompts]
        self._results: list[Embedded | None] = [None] * len(prompts)
        self._together = together
        self._next = 0
        self._left = len(prompts)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_left = False

    def leave(self) -> None:
        """Ends `finish` early: the client has left."""
        self.was_left = True
        if not self._done.done():
            self._done.set_result(None)

    async def finish(self) -> list[Embedded]:
        """The results in the order of the inputs. Raises the error of the first that failed."""
        try:
            for _ in range(min(self._together, len(self._works))):
                self._submit_next()
            await self._done
        finally:
            for work in self._works[: self._next]:
                self._dispatch.cancel(work)
        return [result for result in self._results if result is not None]

    def _submit_next(self) -> None:
        number, self._next = self._next, self._next + 1
        self._dispatch.submit(self._works[number], partial(self._on_event, number))

    def _on_event(self, number: int, event: Event) -> None:
        if self._done.done():
            return
        if isinstance(event, Embedded):
            self._results[number] = event
            self._left -= 1
            if self._next < len(self._works):
                self._submit_next()
            elif not self._left:
                self._done.set_result(None)
        else:
            stopped = EngineError("The runner stopped before the embedding was computed.")
            self._done.set_exception(event.error if isinstance(event, Failed) else stopped)


def _item(index: int, result: Embedded, as_base64: bool) -> dict[str, Any]:
    vector = np.asarray(result.vector, dtype=np.float32)
    encoded = base64.b64encode(vector.tobytes()).decode("ascii") if as_base64 else vector
    return {"object": "embedding", "index": index, "embedding": encoded}
