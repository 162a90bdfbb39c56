"""A client's request as it is sent to one server, and the translation of the answer.

Three dialects meet here: the client's, OpenAI's chat completions in the middle, and the server's. Each request is
rebuilt from its parsed JSON, so that the server receives every field once, and only fields that NOA has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.provider_kinds import KINDS
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.gateway.dialects.dialects import OUTBOUND
from models_app.gateway.dialects.streams import ChatPass, ErrorEvent, MessagesPass, Pipeline, Watcher
from models_app.gateway.http.request_body import ParsedBody
from models_app.gateway.routing.inference import Endpoint
from models_app.gateway.routing.resolving import ModelUnable
from models_app.gateway.upstream.connection import Malformed
from models_app.providers.anthropic import answer as anthropic_answer
from models_app.providers.wire import chat_answers, sse
from models_app.providers.wire.translation import StreamTranslation, Translation

# They configure client libraries; to a server that is itself a gateway they could name another host or key.
STEERING = ("api_base", "api_key", "base_url", "extra_body", "extra_headers", "extra_query")

Fields = dict[str, Any]
Counts = Callable[[Mapping[str, Any]], Usage]


@dataclass(slots=True)
class Exchange:
    """`whole` and `stream` turn the server's answer into the client's; `is_native` when they change no byte.

    adds_stream_options  NOA requests usage in a field that not every server supports
    headers              the client's own, in its dialect, for a server with the same dialect
    """

    path: str
    body: bytes
    whole: Callable[[bytes], tuple[bytes, Usage]]
    stream: Pipeline
    is_native: bool
    adds_stream_options: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def to_runner(endpoint: Endpoint, body: ParsedBody, target: Target, watcher: Watcher) -> Exchange:
    """A request in another dialect than OpenAI's, for a runner. `watcher` receives the events of a streamed answer."""
    assert endpoint.dialect is not None
    inbound = endpoint.dialect.translation
    chat = _translated(inbound, _fields(body), target.key, body)
    added = _include_usage(chat, continuous=True)
    return _exchange("", chat, body, (inbound,), ChatPass(watcher, hide_usage=False), added=added)


def to_provider(
    endpoint: Endpoint, body: ParsedBody, remote: RemoteEndpoint, watcher: Watcher, *, stream_options: bool
) -> Exchange:
    """A request for a provider. Raises InvalidRequest for `STEERING` fields, and for operations it does not support.

    `stream_options` is False for a server that refused that field before. `watcher` as in `to_runner`.
    """
    value = _fields(body)
    for name in STEERING:
        if name in value:
            raise UnsupportedParameter(f"'{name}' is not accepted by this server.", param=name)
    if endpoint.dialect is not None and remote.kind in endpoint.dialect.native:
        return _native_messages(endpoint, value, remote, watcher)
    if endpoint.dialect is None and remote.kind not in OUTBOUND:
        return _native_openai(endpoint, value, body, remote, watcher, stream_options)
    return _to_translated(endpoint, value, body, remote, watcher, stream_options)


def _native_openai(
    endpoint: Endpoint,
    value: Fields,
    body: ParsedBody,
    remote: RemoteEndpoint,
    watcher: Watcher,
    stream_options: bool,
) -> Exchange:
    value["model"] = remote.model_id
    requested = _includes_usage(value)
    added = body.stream and stream_options and not requested and _include_usage(value)
    chat = ChatPass(watcher, hide_usage=not requested)
    exchange = _exchange(f"/{endpoint.name}", value, body, (), chat, added=added)
    exchange.is_native = True
    return exchange


def _native_messages(endpoint: Endpoint, value: Fields, remote: RemoteEndpoint, watcher: Watcher) -> Exchange:
    value["model"] = remote.model_id
    return Exchange(
        path=endpoint.path,
        body=_written(value),
        whole=lambda data: (data, _counts(parsed(data), anthropic_answer.usage_of)),
        stream=Pipeline(MessagesPass(watcher)),
        is_native=True,
    )


def _to_translated(
    endpoint: Endpoint,
    value: Fields,
    body: ParsedBody,
    remote: RemoteEndpoint,
    watcher: Watcher,
    stream_options: bool,
) -> Exchange:
    """For a client or a provider, or both, with another dialect than OpenAI's chat completions."""
    back: list[Translation] = []
    requested = _includes_usage(value)
    if endpoint.dialect is not None:
        back.append(_inbound(endpoint, body.model))
        value = _translated(back[0], value, remote.model_id, body)
        requested = True
    elif endpoint.name != "chat/completions":
        raise ModelUnable(
            f"Models of the provider '{remote.provider}' serve /v1/chat/completions and /v1/messages only.",
            param="model",
        )
    outbound = OUTBOUND.get(remote.kind)
    if outbound is None:
        value["model"] = remote.model_id
        added = body.stream and stream_options and _include_usage(value)
        chat = ChatPass(watcher, hide_usage=False)
        return _exchange(KINDS[remote.kind].chat_path, value, body, tuple(back), chat, added=added)
    if body.stream:
        _include_usage(value)
    back.insert(0, outbound)
    value = _translated(outbound, value, remote.model_id, body)
    chat = ChatPass(watcher, hide_usage=not requested)
    return _exchange(KINDS[remote.kind].chat_path, value, body, tuple(back), chat, added=False)


def _exchange(
    path: str,
    value: Fields,
    body: ParsedBody,
    back: tuple[Translation, ...],
    chat: ChatPass,
    *,
    added: bool,
) -> Exchange:
    """`back` are the translations of the answer, the server's own first; `chat` inspects OpenAI's chunks."""

    def whole(data: bytes) -> tuple[bytes, Usage]:
        answer = parsed(data)
        if not back:
            return data, _counts(answer, chat_answers.counted)
        try:
            return _translated_back(answer, back, body.model)
        except orjson.JSONEncodeError:
            raise Malformed("it is nested too deeply") from None

    return Exchange(path, _written(value), whole, _pipeline(back, body, chat), False, added)


def _translated_back(answer: Fields, back: tuple[Translation, ...], model: str) -> tuple[bytes, Usage]:
    found: list[Usage] = []
    for translation in back:
        answer, counts = translation.answer(answer, model=model)
        found.append(counts)
    return orjson.dumps(answer), found[0]


def _pipeline(back: tuple[Translation, ...], body: ParsedBody, chat: ChatPass) -> Pipeline:
    """OpenAI's chunks are inspected where they exist: before the client's dialect, after the provider's."""
    stages: list[StreamTranslation] = [translation.stream(model=body.model) for translation in back]
    is_outbound = bool(back) and back[0] in OUTBOUND.values()
    stages.insert(1 if is_outbound else 0, chat)
    return Pipeline(*stages)


def _inbound(endpoint: Endpoint, model: str) -> Translation:
    """The translation of the endpoint's dialect; raises ModelUnable for an operation that the provider lacks."""
    assert endpoint.dialect is not None
    if endpoint.dialect.is_count:
        raise ModelUnable(
            f"The provider of '{model}' does not count tokens. {endpoint.path} is supported for local and for "
            "Anthropic's models.",
            param="model",
        )
    return endpoint.dialect.translation


def _translated(translation: Translation, value: Fields, model_id: str, body: ParsedBody) -> Fields:
    found = translation.request(value, model_id=model_id)
    if body.stream:
        found["stream"] = True
    return found


def _includes_usage(value: Fields) -> bool:
    options = value.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _fields(body: ParsedBody) -> Fields:
    """The fields of the body: what is sent is serialised from them, never copied from the client's bytes."""
    value: Fields = orjson.loads(body.raw)
    return value


def _written(value: Fields) -> bytes:
    """Raises InvalidRequest for a value nested too deeply to serialise; orjson parses four times as deep."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


def _include_usage(value: Fields, *, continuous: bool = False) -> bool:
    """Makes a stream report its usage, `continuous` from its first chunk on. False when it is not for a stream."""
    if not value.get("stream"):
        return False
    options = value.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options")
    value["stream_options"] = {**(options or {}), "include_usage": True}
    if continuous:
        value["stream_options"]["continuous_usage_stats"] = True
    return True


def parsed(data: bytes) -> Fields:
    """The JSON object of a whole answer. Raises Malformed, or ErrorEvent when it is an error object."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        _refuse_events(data)
        raise Malformed("it is not valid JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it is not a JSON object")
    error = value.get("error")
    if error:
        raise ErrorEvent(error if isinstance(error, dict) else {"message": str(error)})
    return value


def _refuse_events(data: bytes) -> None:
    """Raises the error of a stream in place of a whole answer: that of its first event, or Malformed."""
    try:
        reader = sse.EventReader()
        found = [orjson.loads(text) for _, text in (*reader.feed(data), *reader.end()) if text.strip() != b"[DONE]"]
    except (orjson.JSONDecodeError, sse.EventTooLong):
        return
    for value in found[:1]:
        if isinstance(value, dict) and value.get("error"):
            error = value["error"]
            raise ErrorEvent(error if isinstance(error, dict) else {"message": str(error)})
        raise Malformed("it is a stream of events, and a whole answer was requested")


def _counts(value: Mapping[str, Any], read: Counts) -> Usage:
    counts = value.get("usage")
    return read(counts) if isinstance(counts, dict) else Usage()
