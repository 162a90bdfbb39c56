"""A client's request as it goes to one server, and the way back of the answer.

Three dialects meet here: the client's, OpenAI's chat completions in the middle, and the server's. Each request is
rebuilt from its parsed JSON, so that the server sees every field once and none that NOA has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.provider_kinds import KINDS
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.gateway.dialects.dialects import OUTBOUND
from models_app.gateway.dialects.streams import ChatPass, ErrorEvent, MessagesPass, Pipeline
from models_app.gateway.http.request_body import Asked
from models_app.gateway.routing.targets import Endpoint, ModelUnable
from models_app.gateway.upstream.connection import Malformed
from models_app.providers.anthropic import answer as anthropic_answer
from models_app.providers.wire import chat_answers
from models_app.providers.wire.translation import StreamTranslation, Translation

# They steer client libraries; to a server that is itself a gateway they could name another host or key.
STEERING = ("api_base", "api_key", "base_url", "extra_body", "extra_headers", "extra_query")

Body = dict[str, Any]
Counts = Callable[[Mapping[str, Any]], Usage]


@dataclass(slots=True)
class Exchange:
    """`whole` and `stream` turn the server's answer into the client's; `is_native` when they change no byte.

    adds_stream_options  usage was asked for on the client's behalf, in a field that not every server knows
    """

    path: str
    body: bytes
    whole: Callable[[bytes], tuple[bytes, Usage]]
    stream: Pipeline
    is_native: bool
    adds_stream_options: bool = False


def to_runner(endpoint: Endpoint, asked: Asked, target: Target) -> Exchange:
    """A request in another dialect, for a runner, which speaks OpenAI's."""
    value = _fields(asked)
    inbound = _spoken(endpoint, target.key)
    chat = _translated(inbound, value, target.key, asked)
    added = _ask_for_usage(chat)
    return _exchange("", chat, asked, (inbound,), hide_usage=False, added=added)


def to_provider(endpoint: Endpoint, asked: Asked, remote: RemoteEndpoint, *, stream_options: bool) -> Exchange:
    """A request for a provider. Raises InvalidRequest for fields that would steer, and for what it cannot do.

    `stream_options` is False for a server that is known to refuse that field.
    """
    value = _fields(asked)
    for name in STEERING:
        if name in value:
            raise UnsupportedParameter(f"'{name}' is not accepted by this server.", param=name)
    if endpoint.dialect is not None and remote.kind in endpoint.dialect.native:
        return _native_messages(endpoint, value, remote)
    if endpoint.dialect is None and remote.kind not in OUTBOUND:
        return _native_openai(endpoint, value, asked, remote, stream_options)
    return _to_translated(endpoint, value, asked, remote, stream_options)


def _native_openai(
    endpoint: Endpoint, value: Body, asked: Asked, remote: RemoteEndpoint, stream_options: bool
) -> Exchange:
    value["model"] = remote.model_id
    wanted = _wants_usage(value)
    added = asked.stream and stream_options and not wanted and _ask_for_usage(value)
    exchange = _exchange(f"/{endpoint.name}", value, asked, (), hide_usage=not wanted, added=added)
    exchange.is_native = True
    return exchange


def _native_messages(endpoint: Endpoint, value: Body, remote: RemoteEndpoint) -> Exchange:
    value["model"] = remote.model_id
    return Exchange(
        path=endpoint.path,
        body=_written(value),
        whole=lambda body: (body, _counts(_answered(body), anthropic_answer.usage_of)),
        stream=Pipeline(MessagesPass()),
        is_native=True,
    )


def _to_translated(
    endpoint: Endpoint, value: Body, asked: Asked, remote: RemoteEndpoint, stream_options: bool
) -> Exchange:
    """A client or a provider, or both, who do not speak OpenAI's chat completions."""
    back: list[Translation] = []
    wanted = _wants_usage(value)
    if endpoint.dialect is not None:
        back.append(_spoken(endpoint, asked.model))
        value = _translated(back[0], value, remote.model_id, asked)
        wanted = True
    elif endpoint.name != "chat/completions":
        raise ModelUnable(
            f"A model of the provider '{remote.provider}' can only be asked at /v1/chat/completions and /v1/messages.",
            param="model",
        )
    outbound = OUTBOUND.get(remote.kind)
    if outbound is None:
        value["model"] = remote.model_id
        added = asked.stream and stream_options and _ask_for_usage(value)
        return _exchange(KINDS[remote.kind].chat_path, value, asked, tuple(back), hide_usage=False, added=added)
    if asked.stream:
        _ask_for_usage(value)
    back.insert(0, outbound)
    value = _translated(outbound, value, remote.model_id, asked)
    return _exchange(KINDS[remote.kind].chat_path, value, asked, tuple(back), hide_usage=not wanted, added=False)


def _exchange(
    path: str,
    value: Body,
    asked: Asked,
    back: tuple[Translation, ...],
    *,
    hide_usage: bool,
    added: bool,
) -> Exchange:
    """`back` are the translations of the answer, the server's own first."""

    def whole(body: bytes) -> tuple[bytes, Usage]:
        answer = _answered(body)
        if not back:
            return body, _counts(answer, chat_answers.counted)
        try:
            return _translated_back(answer, back, asked.model)
        except orjson.JSONEncodeError:
            raise Malformed("it is nested too deeply") from None

    return Exchange(path, _written(value), whole, _pipeline(back, asked, hide_usage), False, added)


def _translated_back(answer: Body, back: tuple[Translation, ...], model: str) -> tuple[bytes, Usage]:
    found: list[Usage] = []
    for translation in back:
        answer, counts = translation.answer(answer, model=model)
        found.append(counts)
    return orjson.dumps(answer), found[0]


def _pipeline(back: tuple[Translation, ...], asked: Asked, hide_usage: bool) -> Pipeline:
    """OpenAI's chunks are looked at where they are: before the client's dialect, after the provider's."""
    stages: list[StreamTranslation] = [translation.stream(model=asked.model) for translation in back]
    is_outbound = bool(back) and back[0] in OUTBOUND.values()
    stages.insert(1 if is_outbound else 0, ChatPass(hide_usage=hide_usage))
    return Pipeline(*stages)


def _spoken(endpoint: Endpoint, model: str) -> Translation:
    """The translation of the endpoint's dialect; raises ModelUnable for an operation that has none."""
    assert endpoint.dialect is not None
    if not endpoint.dialect.is_spoken:
        raise ModelUnable(
            f"{endpoint.path} is only possible for models of Anthropic's, and '{model}' is none.",
            param="model",
        )
    return endpoint.dialect.translation


def _translated(translation: Translation, value: Body, model_id: str, asked: Asked) -> Body:
    found = translation.request(value, model_id=model_id)
    if asked.stream:
        found["stream"] = True
    return found


def _wants_usage(value: Body) -> bool:
    options = value.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _fields(asked: Asked) -> Body:
    """The body's fields again: what is sent is written from them, and not from the client's bytes."""
    value: Body = orjson.loads(asked.raw)
    return value


def _written(value: Body) -> bytes:
    """Raises InvalidRequest for what is nested too deeply to be written: it can be read four times as deep."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


def _ask_for_usage(value: Body) -> bool:
    """Adds to a request what makes a stream tell its usage. True when it was not there."""
    if not value.get("stream"):
        return False
    options = value.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options")
    value["stream_options"] = {**(options or {}), "include_usage": True}
    return True


def _answered(body: bytes) -> Body:
    """The JSON object of a whole answer. Raises Malformed, or ErrorEvent when it is an error after all."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Malformed("it is not valid JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it is not a JSON object")
    said = value.get("error")
    if said:
        raise ErrorEvent(said if isinstance(said, dict) else {"message": str(said)})
    return value


def _counts(value: Mapping[str, Any], read: Counts) -> Usage:
    counts = value.get("usage")
    return read(counts) if isinstance(counts, dict) else Usage()
