"""POST /v1/chat/completions"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import inference
from models_app.domain.traffic.conversation import Message
from models_app.domain.traffic.inference import ChatRequest
from models_app.engines.runner.endpoints import answers
from models_app.engines.runner.endpoints.answers import Chunks
from models_app.engines.runner.endpoints.choices import Choice, Run, Stream, choices_for
from models_app.engines.runner.formats import constrained, tools
from models_app.engines.runner.formats.rendering import Renderer
from models_app.engines.runner.http import Request
from models_app.engines.runner.state import State


async def complete(state: State, request: Request, data: Mapping[str, Any]) -> None:
    """Answer one chat request, streamed or whole. Raises InvalidRequest and the errors of the decode thread."""
    chat = inference.parse_chat(data)
    choices = await _choices(state, chat, clip="clip" in request.query)
    kind = "chat.completion.chunk" if chat.stream else "chat.completion"
    head = answers.envelope(kind, "chatcmpl", state.spec.model, state.spec.fingerprint)
    if chat.stream:
        chunks = Chunks(head, include_usage=chat.include_usage, chat=True)
        stream = Stream(state.dispatch, choices, request, chunks, chat=True, continuous_usage=chat.continuous_usage)
        await stream.finish()
        stream.close(include_usage=chat.include_usage)
        return
    run = Run(state.dispatch, choices)
    request.on_left = run.leave
    await run.finish()
    if run.was_left:
        run.respond_usage(request)
        return
    answer = {"choices": [_choice(choice) for choice in choices], "usage": run.usage.as_dict()}
    request.respond(200, head | answer)


async def count(state: State, request: Request, data: Mapping[str, Any]) -> None:
    """Answer with the tokens of a chat's prompt, also of one that does not fit. Raises as `complete`."""
    request.respond(200, {"input_tokens": len(await _prompt(state, inference.parse_chat(data), fits=False))})


async def _choices(state: State, chat: ChatRequest, *, clip: bool) -> list[Choice]:
    """`clip`: an answer that would be longer than the rest of the context ends there."""
    prompt = await _prompt(state, chat)
    calls, forced = chat.tool_choice.kind != "none", chat.tool_choice.kind == "named"
    several = chat.parallel_tool_calls and not forced
    sampling = state.sampling(
        chat.sampling,
        prompt_tokens=len(prompt),
        param="messages",
        grammar=await constrained.grammar_of(state.grammars, chat, several=several),
        more_stops=() if several or not calls else (tools.CLOSE,),
        clip=clip,
    )
    return choices_for(prompt, sampling, n=chat.n, tools=calls, forced=forced)


async def _prompt(state: State, chat: ChatRequest, *, fits: bool = True) -> Sequence[int]:
    renderer = _renderer(state)
    calls = chat.tool_choice.kind != "none"
    if calls and not renderer.supports_tools:
        raise InvalidRequest(
            "This model's chat template does not support tools.",
            code="tools_not_supported",
            param="tools",
        )
    text = await renderer.render(
        _messages(renderer, chat.messages),
        tools=[tool.raw for tool in chat.tools] if calls else (),
        options=chat.template_options,
    )
    # Most templates write the beginning-of-text token themselves; it must not be doubled.
    add_special = not (state.model.bos and text.startswith(state.model.bos))
    return await state.tokens(text, param="messages", add_special=add_special, fits=fits)


def _renderer(state: State) -> Renderer:
    if not state.model.can_generate or state.renderer is None:
        why = "has no chat template" if state.model.can_generate else "does not generate text"
        raise InvalidRequest(f"This model {why}, so it cannot chat.", code="chat_not_supported", param="model")
    return state.renderer


def _messages(renderer: Renderer, messages: Sequence[Message]) -> Sequence[Message]:
    """Replace the role `developer`, OpenAI's newer name of `system`, which most templates do not support."""
    if renderer.supports_developer:
        return messages
    return [{**message, "role": "system"} if message["role"] == "developer" else message for message in messages]


def _choice(choice: Choice) -> dict[str, Any]:
    content = "".join(choice.text)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if choice.calls:
        message["content"] = content if content.strip() else None
        message["tool_calls"] = [call.as_dict() for call in choice.calls]
    has_logprobs = choice.work.sampling.top_logprobs is not None
    return {
        "index": choice.index,
        "message": message,
        "logprobs": answers.chat_logprobs(tuple(choice.logprobs)) if has_logprobs else None,
        "finish_reason": choice.reason,
        **answers.stop_reason(choice.stop),
    }
