"""Successful answers of the fake OpenAI, whole and as streams."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes import answers
from tests.fakes.provider_faults import Reply

CREATED = 1_732_000_000
REASONING_TOKENS = 5
DIMENSIONS = 8
_DONE = b"data: [DONE]\n\n"
_HEADERS = {"x-request-id": "req_fake", "openai-processing-ms": "12"}


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    text: str | None
    calls: list[dict[str, Any]]
    finish: str
    prompt_tokens: int
    completion_tokens: int


def chat(body: Mapping[str, Any]) -> Reply:
    answer = _limited(_answer(body), body)
    name, count = str(body.get("model")), body.get("n") or 1
    usage = _usage(body, answer)
    base = {"id": "chatcmpl-fake", "created": CREATED, "model": name, "system_fingerprint": "fp_1"}
    base |= {"service_tier": "default"}
    choices = [_choice(index, answer) for index in range(count)]
    whole = {**base, "object": "chat.completion", "choices": choices, "usage": usage}
    if body.get("stream") is not True:
        return Reply(whole, without_usage=Reply(_without(whole, "usage")), headers=_HEADERS)
    chunk_base = base | {"object": "chat.completion.chunk"}
    deltas = [delta for index in range(count) for delta in _deltas(index, answer)]
    return _streamed(whole, chunk_base, deltas, usage, _wants_usage(body))


def completion(body: Mapping[str, Any]) -> Reply:
    prompts = body.get("prompt")
    prompt = prompts if isinstance(prompts, str) else str((prompts or [""])[0])
    text = answers.echo(prompt)
    answer = _limited(Answer(text, [], "stop", answers.count_tokens(prompt), answers.count_tokens(text)), body)
    usage = _usage(body, answer)
    base = {
        "id": "cmpl-fake",
        "created": CREATED,
        "model": str(body.get("model")),
        "object": "text_completion",
    }
    end = {"index": 0, "logprobs": None, "finish_reason": answer.finish}
    whole = {**base, "choices": [{"text": answer.text, **end}], "usage": usage}
    if body.get("stream") is not True:
        return Reply(whole, without_usage=Reply(_without(whole, "usage")), headers=_HEADERS)
    between = {"index": 0, "logprobs": None, "finish_reason": None}
    choices = [{"text": word, **between} for word in answers.words(answer.text or "")]
    return _streamed(whole, base, [*choices, {"text": "", **end}], usage, _wants_usage(body))


def embeddings(body: Mapping[str, Any]) -> Reply:
    given = body.get("input")
    inputs = given if isinstance(given, list) and given and isinstance(given[0], str) else [given]
    size = body.get("dimensions") or DIMENSIONS
    data = [_vector(index, str(text), size, body) for index, text in enumerate(inputs)]
    tokens = answers.count_tokens(*(str(text) for text in inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    whole = {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
    return Reply(whole, without_usage=Reply(_without(whole, "usage")), headers=_HEADERS)


def _vector(index: int, text: str, size: int, body: Mapping[str, Any]) -> dict[str, Any]:
    values = [((len(text) * (place + 1)) % 97) / 97 for place in range(size)]
    encoded: Any = values
    if body.get("encoding_format") == "base64":
        encoded = base64.b64encode(struct.pack(f"<{size}f", *values)).decode()
    return {"object": "embedding", "index": index, "embedding": encoded}


def _answer(body: Mapping[str, Any]) -> Answer:
    messages = body.get("messages") or [{"role": "user", "content": ""}]
    prompt = answers.count_tokens(*(_text(message) for message in messages))
    if name := _called(body, messages[-1]):
        arguments = json.dumps(answers.conforming(_tools(body)[name]))
        call = {"id": "call_fake1", "type": "function"}
        call |= {"function": {"name": name, "arguments": arguments}}  # type: ignore[dict-item]
        return Answer(None, [call], "tool_calls", prompt, answers.count_tokens(arguments))
    text = _spoken(body, messages)
    return Answer(text, [], "stop", prompt, answers.count_tokens(text))


def _spoken(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> str:
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return json.dumps(answers.conforming(shape["json_schema"].get("schema") or {}))
    if shape.get("type") == "json_object":
        return json.dumps({"answer": "text"})
    last = messages[-1]
    if last["role"] == "tool":
        return answers.about_result(_text(last))
    asked = next((each for each in reversed(messages) if each["role"] == "user"), last)
    return answers.echo(_text(asked), _images(asked))


def _called(body: Mapping[str, Any], last: Mapping[str, Any]) -> str | None:
    choice, names = body.get("tool_choice"), list(_tools(body))
    if not names or choice == "none":
        return None
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    if choice == "required":
        return names[0]
    return answers.called_by_name(names, _text(last)) if last["role"] == "user" else None


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return {function["name"]: function.get("parameters") or {} for function in functions}


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _images(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    return [url.partition(";")[0].removeprefix("data:") for url in urls]


def _limited(answer: Answer, body: Mapping[str, Any]) -> Answer:
    """The answer, cut at the request's token limit or stop words."""
    text, finish = answer.text, answer.finish
    if text is None:
        return answer
    stop = body.get("stop") or []
    for word in [stop] if isinstance(stop, str) else stop:
        text = text.partition(word)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    pieces = answers.words(text)
    if limit is not None and len(pieces) > limit:
        text, finish = "".join(pieces[:limit]), "length"
    return Answer(text, [], finish, answer.prompt_tokens, answers.count_tokens(text))


def _usage(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    reasoning = REASONING_TOKENS if str(body.get("model")).startswith("o") else 0
    prompt, completion = answer.prompt_tokens, answer.completion_tokens * (body.get("n") or 1)
    completion += reasoning
    details = {
        "reasoning_tokens": reasoning,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt // 4, "audio_tokens": 0},
        "completion_tokens_details": details,
    }


def _choice(index: int, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    message["annotations"] = []
    if answer.calls:
        message["tool_calls"] = answer.calls
    return {"index": index, "message": message, "logprobs": None, "finish_reason": answer.finish}


def _deltas(index: int, answer: Answer) -> Iterator[dict[str, Any]]:
    """The choices of one index, in the shapes that OpenAI streams."""

    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

    if answer.calls:
        for place, call in enumerate(answer.calls):
            name = {"name": call["function"]["name"], "arguments": ""}
            first = {"index": place, "id": call["id"], "type": "function", "function": name}
            head = {"role": "assistant", "content": None} if place == 0 else {}
            yield choice({**head, "tool_calls": [first]})
            arguments = call["function"]["arguments"]
            for start in range(0, len(arguments), 5):
                part = {"index": place, "function": {"arguments": arguments[start : start + 5]}}
                yield choice({"tool_calls": [part]})
    else:
        yield choice({"role": "assistant", "content": "", "refusal": None})
        for word in answers.words(answer.text or ""):
            yield choice({"content": word})
    yield choice({}, answer.finish)


def _wants_usage(body: Mapping[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _streamed(
    whole: dict[str, Any],
    base: dict[str, Any],
    choices: list[dict[str, Any]],
    usage: Any,
    wants: bool,
) -> Reply:
    """With `include_usage` every chunk but the last has `"usage": null`, and the last has no choices."""
    plain = [_event({**base, "choices": [choice]}) for choice in choices]
    without = Reply(whole, [*plain, _DONE], headers=_HEADERS)
    last = _event({**base, "choices": [choices[-1]], "usage": usage})
    in_choices = Reply(whole, [*plain[:-1], last, _DONE], headers=_HEADERS)
    if not wants:
        return Reply(whole, without.events, without, in_choices, headers=_HEADERS)
    counted = [_event({**base, "choices": [choice], "usage": None}) for choice in choices]
    events = [*counted, _event({**base, "choices": [], "usage": usage}), _DONE]
    return Reply(whole, events, without, in_choices, headers=_HEADERS)


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != name}
