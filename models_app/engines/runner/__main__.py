"""The program that serves one local model; `models_app.engines.spec` defines its arguments and answers."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import uvloop

from models_app.domain.errors import LoadFailed, NoaError
from models_app.engines.runner import lifecycle
from models_app.engines.runner.batching.batcher import Batcher
from models_app.engines.runner.batching.dispatch import Dispatch, Drain
from models_app.engines.runner.batching.generation import Embedding, Event, Failed, Sampling
from models_app.engines.runner.endpoints.choices import Run, choices_for
from models_app.engines.runner.formats.template import ChatTemplate
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


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    spec, pipe = _arguments()
    lifecycle.die_with_parent()
    lifecycle.hold_lifeline()
    lifecycle.exit_with_any_thread()
    lifecycle.raise_oom_score()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        pipe.enter("start")
        model, template = _load(spec, pipe)
        uvloop.run(_serve(spec, pipe, model, template))
    except LoadFailed as error:
        logger.error("%s", error)
        pipe.failed(error.message, stage=error.stage)
        return 1
    except Exception as error:
        logger.exception("the runner failed in stage %s", pipe.stage)
        pipe.failed(f"The runner failed unexpectedly: {error!r}.", stage=pipe.stage)
        return 1
    finally:
        Path(spec.socket).unlink(missing_ok=True)
    return 0


def _arguments() -> tuple[RunnerSpec, ReadyPipe]:
    parser = argparse.ArgumentParser(prog="models_app.engines.runner")
    parser.add_argument("--spec", required=True, type=RunnerSpec.from_json)
    parser.add_argument("--ready-fd", required=True, type=int)
    arguments = parser.parse_args()
    return arguments.spec, ReadyPipe(arguments.ready_fd)


def _load(spec: RunnerSpec, pipe: ReadyPipe) -> tuple[LoadedModel, ChatTemplate | None]:
    pipe.enter("load")
    model = LoadedModel(spec, pipe.advance)
    pipe.enter("template")
    if not model.chat_template:
        return model, None
    return model, ChatTemplate(model.chat_template, bos=model.bos, eos=model.eos)


async def _serve(spec: RunnerSpec, pipe: ReadyPipe, model: LoadedModel, template: ChatTemplate | None) -> None:
    loop = asyncio.get_running_loop()
    dispatch = Dispatch(loop)
    batcher = Batcher(model, spec, dispatch.deliver)
    dispatch.attach(batcher)
    state = State(spec, model, template, dispatch, Drain(), GrammarCheck(batcher.grammars), int(time.time()))
    stop = asyncio.Event()
    batcher.start()
    try:
        pipe.enter("warm_up")
        await _warm_up(state)
        server = Server(state, batcher)
        listener = lifecycle.listen(spec.socket)
        listening = await loop.create_server(partial(Connection, server.answer), sock=listener)
        _stop_at_sigterm(state.drain, stop)
        # Objects alive now stay alive: exclude them from later collections.
        gc.collect()
        gc.freeze()
        pipe.ready(n_ctx=model.n_ctx, slots=spec.slots, memory=state.memory())
        logger.info("ready: %s on %s", spec.model, spec.socket)
        await stop.wait()
        listening.close()
    finally:
        batcher.close()


async def _warm_up(state: State) -> None:
    """Compute one token, or one embedding, on the path of a request. Raises LoadFailed."""
    prompt = state.model.tokenize("Hello", add_special=True, parse_special=False)
    try:
        async with asyncio.timeout(_WARM_UP_SECONDS):
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


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Not sys.exit: a thread can still be tokenizing a long text, and no finalizer is needed.
    os._exit(code)
