"""Serves one model: loads it, warms it up, and answers until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from functools import partial

import uvloop

from models_app import clocks
from models_app.domain.errors import LoadFailed, NoaError
from models_app.engines.marks import Marks
from models_app.engines.runner import lifecycle
from models_app.engines.runner.batching.batcher import Batcher
from models_app.engines.runner.batching.dispatch import Dispatch, Drain
from models_app.engines.runner.batching.generation import Embedding, Event, Failed, Sampling
from models_app.engines.runner.endpoints.choices import Run, choices_for
from models_app.engines.runner.formats.rendering import Renderer
from models_app.engines.runner.grammar.compiling import GrammarCheck
from models_app.engines.runner.http import Connection
from models_app.engines.runner.lifecycle import ReadyPipe
from models_app.engines.runner.llama.model import LoadedModel
from models_app.engines.runner.server import Server
from models_app.engines.runner.state import State
from models_app.engines.spec import RunnerSpec

logger = logging.getLogger("noa.runner")

# How long SIGTERM waits for running requests.
_DRAIN_SECONDS = 30.0
# The HTTP thread and the decode thread share the GIL. The default switch interval, 5 ms, is as long as a whole decode
# step of a small model.
_SWITCH_SECONDS = 0.001
_WARM_UP_SECONDS = 120.0


def run(spec: RunnerSpec, pipe: ReadyPipe, listener: socket.socket, work: Marks) -> int:
    """The exit code, after the last answer. `listener` is bound; `work` are the marks of this process."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        model, renderer = _load(spec, pipe)
        uvloop.run(_serve(spec, pipe, model, renderer, listener, work))
    except LoadFailed as error:
        logger.error("%s", error)
        pipe.failed(error.message, stage=error.stage)
        return 1
    except Exception as error:
        logger.exception("the runner failed in stage %s", pipe.stage)
        pipe.failed(f"The runner failed unexpectedly: {error!r}.", stage=pipe.stage)
        return 1
    return 0


def _load(spec: RunnerSpec, pipe: ReadyPipe) -> tuple[LoadedModel, Renderer | None]:
    pipe.enter("load")
    model = LoadedModel(spec, pipe.advance)
    if not model.chat_template:
        return model, None
    with_tools = model.metadata("tokenizer.chat_template.tool_use") or ""
    return model, Renderer(model.chat_template, bos=model.bos, eos=model.eos, with_tools=with_tools, mode=spec.confine)


async def _serve(
    spec: RunnerSpec,
    pipe: ReadyPipe,
    model: LoadedModel,
    renderer: Renderer | None,
    listener: socket.socket,
    work: Marks,
) -> None:
    loop = asyncio.get_running_loop()
    pipe.enter("template")
    if renderer is not None:
        await renderer.open()
    dispatch = Dispatch(loop)
    batcher = Batcher(model, spec, dispatch.deliver, work.decode)
    dispatch.attach(batcher)
    state = State(spec, model, renderer, dispatch, Drain(), GrammarCheck(batcher.grammars), work, int(time.time()))
    stop = asyncio.Event()
    batcher.start()
    try:
        pipe.enter("warm_up")
        await _warm_up(state, pipe)
        server = Server(state, batcher)
        listener.listen(lifecycle.BACKLOG)
        listening = await loop.create_server(partial(Connection, server.answer), sock=listener)
        _stop_at_sigterm(state.drain, stop)
        # Objects alive now stay alive: exclude them from later collections.
        gc.collect()
        gc.freeze()
        notes = renderer.manner.notes if renderer is not None else ()
        pipe.ready(n_ctx=model.n_ctx, slots=spec.slots, memory=state.memory(), notes=notes)
        logger.info("ready: %s on %s", spec.model, spec.socket)
        await stop.wait()
        listening.close()
    finally:
        if renderer is not None:
            await renderer.close()
        batcher.close()


async def _warm_up(state: State, pipe: ReadyPipe) -> None:
    """A failure ends this process at once: the decode thread can hang in llama.cpp, where nothing ends it."""
    try:
        await _compute_once(state)
    except LoadFailed as error:
        logger.error("%s", error)
        pipe.failed(error.message, stage=error.stage)
        logging.shutdown()
        os._exit(1)


async def _compute_once(state: State) -> None:
    """Compute one token, or one embedding, on the path of a request. Raises LoadFailed."""
    prompt = state.model.tokenize("Hello", add_special=True, parse_special=False)
    try:
        async with clocks.timeout(_WARM_UP_SECONDS):
            if state.model.can_generate:
                choices = choices_for(prompt, Sampling(max_tokens=1, temperature=0.0), n=1)
                await Run(state.dispatch, choices).finish()
            else:
                await _embed_once(state.dispatch, prompt)
    except TimeoutError:
        raise LoadFailed(f"The model computed no token within {_WARM_UP_SECONDS:g} s.", stage="warm_up") from None
    except NoaError as error:
        raise LoadFailed(f"The model could not run: {error.message}", stage="warm_up") from error


async def _embed_once(dispatch: Dispatch, prompt: list[int]) -> None:
    result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_event(event: Event) -> None:
        if isinstance(event, Failed):
            result.set_exception(event.error)
        else:
            result.set_result(None)

    dispatch.submit(Embedding(prompt), on_event)
    await result


def _stop_at_sigterm(drain: Drain, stop: asyncio.Event) -> None:
    """The first SIGTERM drains and sets `stop`; the second exits at once."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def finish() -> None:
        left = await drain.start(_DRAIN_SECONDS)
        logger.info("drained with %d requests left", left)
        stop.set()

    def on_signal() -> None:
        if tasks:
            os._exit(128 + signal.SIGTERM)
        tasks.append(loop.create_task(finish()))

    loop.add_signal_handler(signal.SIGTERM, on_signal)
