"""POST /v1/completions"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import inference
from models_app.domain.traffic.inference import CompletionRequest, Prompt
from models_app.engines.runner.endpoints import answers
from models_app.engines.runner.endpoints.answers import Chunks
from models_app.engines.runner.endpoints.choices import Choice, Run, Stream, choices_for
from models_app.engines.runner.http import Request
from models_app.engines.runner.state import State


async def complete(state: State, request: Request, data: Mapping[str, Any]) -> None:
    """Answer one completion request, streamed or whole; the choices of the first prompt come first."""
    completion = inference.parse_completion(data)
    if not state.model.can_generate:
        raise InvalidRequest("This model does not generate text.", code="generation_not_supported", param="model")
    choices = await _choices(state, completion)
    head = answers.envelope("text_completion", "cmpl", state.spec.model, state.spec.fingerprint)
    if completion.stream:
        chunks = Chunks(head, include_usage=completion.include_usage, chat=False)
        stream = Stream(state.dispatch, choices, request, chunks, chat=False)
        await stream.finish()
        stream.close(include_usage=completion.include_usage)
        return
    run = Run(state.dispatch, choices)
    request.on_left = run.leave
    await run.finish()
    if run.was_left:
        run.respond_usage(request)
        return
    answer = {"choices": [_choice(choice) for choice in choices], "usage": run.usage.as_dict()}
    request.respond(200, head | answer)


async def _choices(state: State, completion: CompletionRequest) -> list[Choice]:
    choices: list[Choice] = []
    for prompt in completion.prompts:
        tokens = await state.tokens(prompt, param="prompt")
        sampling = state.sampling(completion.sampling, prompt_tokens=len(tokens), param="prompt")
        echo = _text(state, prompt) if completion.echo else ""
        choices += choices_for(tokens, sampling, n=completion.n, first=len(choices), echo=echo)
    return choices


def _text(state: State, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else state.model.vocabulary.detokenize(prompt).decode("utf-8", "replace")


def _choice(choice: Choice) -> dict[str, Any]:
    has_logprobs = choice.work.sampling.top_logprobs is not None
    return {
        "index": choice.index,
        "text": "".join(choice.text),
        "logprobs": answers.completion_logprobs(tuple(choice.logprobs), 0) if has_logprobs else None,
        "finish_reason": choice.reason,
        **answers.stop_reason(choice.stop),
    }
