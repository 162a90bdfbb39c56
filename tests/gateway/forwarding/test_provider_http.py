"""All that HTTP allows a provider: ends of connections and of bodies, compression, interim answers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.gateway.upstream import decoding
from tests.gateway.forwarding.test_keep_alive import CHUNKS, DIALECTS, DONE, USAGE
from tests.gateway.raw_provider import RawProvider, Step, Then, answer, head, stream
from tests.gateway.remotes import CHAT, GPT, as_new, endpoint, entry, serve_remote, with_models
from tests.gateway.wire import Answer, Served

EVENTS = CHUNKS + USAGE + DONE
MESSAGE = {"role": "assistant", "content": "Hello"}
WHOLE = json.dumps(
    {
        "id": "c",
        "choices": [{"index": 0, "message": MESSAGE, "text": "Hello", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
    }
).encode()
CREDITS = b'{"error": {"message": "You are out of credits.", "type": "billing_error", "code": "no_credits"}}'
_ids = count()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Served, RawProvider]]:
    provider = RawProvider(lambda number, on_connection: [])
    with serve_remote(entry(GPT, endpoint(provider, ProviderKind.OPENAI, "gpt-4o"))) as served:  # type: ignore[arg-type]
        yield served, provider
    provider.close()


@pytest.fixture
def provider(shared: tuple[Served, RawProvider]) -> RawProvider:
    shared[1].bodies.clear()
    return shared[1]


@pytest.fixture
def served(shared: tuple[Served, RawProvider]) -> Served:
    return as_new(shared[0])


def asked(served: Served, path: str = "/v1/chat/completions", *, streamed: bool) -> tuple[Answer, str]:
    """The answer, and the id of the request."""
    name = f"http-{next(_ids)}"
    return served.post({"model": GPT, "stream": streamed, **DIALECTS[path][0]}, path, x_request_id=name), name


def text_of(reply: Answer) -> str:
    """The text of a chat, whole or streamed."""
    if b"data: " not in reply.body:
        return str(reply.json["choices"][0]["message"]["content"])
    events = [line[6:] for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def body(streamed: bool, *lines: str) -> bytes:
    return stream(EVENTS, *lines) if streamed else answer(WHOLE, *lines)


# By the way in which a provider ends connections: the steps of a request, by its number and that on its connection.
ENDS: dict[str, Callable[[bytes, int], list[Step]]] = {
    "closes behind each answer": lambda data, on_connection: [data, Then.CLOSE],
    "resets behind each answer": lambda data, on_connection: [data, Then.RESET],
    "takes a second request and closes": lambda data, on_connection: [Then.CLOSE] if on_connection else [data],
    "takes a second request and resets": lambda data, on_connection: [Then.RESET] if on_connection else [data],
    "closes at the third": lambda data, on_connection: [Then.CLOSE] if on_connection == 2 else [data],
    "says so and stays": lambda data, on_connection: [data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)],
    "says that it stays": lambda data, on_connection: [
        data.replace(b"\r\n", b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n", 1),
        Then.CLOSE,
    ],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("streamed", [False, True])
def test_forty_of_forty_are_answered(served: Served, provider: RawProvider, end: str, streamed: bool) -> None:
    provider.script = lambda number, on_connection: ENDS[end](body(streamed), on_connection)
    replies = [served.post({"model": GPT, "stream": streamed, **CHAT}) for _ in range(40)]
    assert [reply.status for reply in replies] == [200] * 40
    assert {text_of(reply) for reply in replies} == {"Hello"}
    assert not served.gateway._relay._remote._circuits._circuits["openai"]._breaker.reason


@pytest.mark.parametrize(
    "half", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", head("Content-Length: 50"), answer(WHOLE)[:-9]]
)
def test_a_request_is_not_repeated_once_a_byte_of_its_answer_came(
    served: Served, provider: RawProvider, half: bytes
) -> None:
    provider.script = lambda number, on_connection: [half, Then.CLOSE] if on_connection else [answer(WHOLE)]
    assert asked(served, streamed=False)[0].status == 200
    assert asked(served, streamed=False)[0].code in ("provider_disconnected", "malformed_answer")
    assert len(provider.bodies) == 2


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


READABLE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "not compressed": ("gzip", lambda data: data),
    "identity": ("identity", lambda data: data),
}
UNREADABLE = ["br", "zstd", "gzip, br"]


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("form", READABLE)
@pytest.mark.parametrize("streamed", [False, True])
def test_compressed_answers_are_read(
    served: Served, provider: RawProvider, path: str, form: str, streamed: bool
) -> None:
    encoding, compress = READABLE[form]
    line = f"Content-Encoding: {encoding}"
    data = stream(compress(EVENTS), line) if streamed else answer(compress(WHOLE), line)
    provider.script = lambda number, on_connection: [data]
    reply, name = asked(served, path, streamed=streamed)
    assert reply.status == 200
    assert b"Hello" in reply.body and "content-encoding" not in reply.headers
    record = served.record_of(name)
    assert (record.prompt_tokens, record.completion_tokens, record.estimated) == (4, 2, False)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", UNREADABLE)
def test_what_cannot_be_expanded_is_refused_with_the_reason(
    served: Served, provider: RawProvider, encoding: str, streamed: bool
) -> None:
    provider.script = lambda number, on_connection: [body(streamed, f"Content-Encoding: {encoding}")]
    reply, _ = asked(served, streamed=streamed)
    assert (reply.status, reply.code) == (502, "malformed_answer")
    assert f"compressed with '{encoding}'" in reply.json["error"]["message"]


@pytest.mark.parametrize("status", ["402 Payment Required", "400 Bad Request", "500 Oh No"])
@pytest.mark.parametrize("form", READABLE)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_reason_of_a_compressed_error_arrives(
    served: Served, provider: RawProvider, form: str, status: str, streamed: bool
) -> None:
    encoding, compress = READABLE[form]
    data = answer(compress(CREDITS), f"Content-Encoding: {encoding}", status=status)
    provider.script = lambda number, on_connection: [data]
    reply, _ = asked(served, streamed=streamed)
    assert reply.status == (502 if status.startswith("5") else int(status[:3]))
    assert "You are out of credits." in reply.json["error"]["message"]


@pytest.mark.parametrize("encoding", UNREADABLE)
def test_an_error_that_cannot_be_expanded_keeps_its_status(
    served: Served, provider: RawProvider, encoding: str
) -> None:
    data = answer(b"\x0b\x02\x80", f"Content-Encoding: {encoding}", status="402 Payment Required")
    provider.script = lambda number, on_connection: [data]
    reply, _ = asked(served, streamed=False)
    assert reply.status == 402
    assert f"compressed with '{encoding}'" in reply.json["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_bomb_ends(served: Served, provider: RawProvider, monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    monkeypatch.setattr(decoding, "_MAX_EXPANDED", 10_000_000)
    bomb = gzip.compress(b" " * 20_000_000)
    data = stream(bomb, "Content-Encoding: gzip") if streamed else answer(bomb, "Content-Encoding: gzip")
    provider.script = lambda number, on_connection: [data]
    reply, name = asked(served, streamed=streamed)
    # If it takes longer than a second, a ping has begun the answer.
    assert reply.status == 502 or (streamed and reply.body.startswith(b": ping"))
    record = served.record_of(name)
    assert (record.status, record.error_code) == (502, "malformed_answer")


UNSIZED: dict[str, Callable[[bytes, str], bytes]] = {
    "HTTP/1.1": lambda data, kind: head(f"Content-Type: {kind}") + data,
    "HTTP/1.1 that says so": lambda data, kind: head(f"Content-Type: {kind}", "Connection: close") + data,
    "HTTP/1.0": lambda data, kind: head(f"Content-Type: {kind}", version="1.0") + data,
    "HTTP/1.0 with a length": lambda data, kind: (
        head(f"Content-Type: {kind}", f"Content-Length: {len(data)}", version="1.0") + data
    ),
    "compressed": lambda data, kind: head(f"Content-Type: {kind}", "Content-Encoding: gzip") + gzip.compress(data),
}


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("form", UNSIZED)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_may_end_with_its_connection(
    served: Served, provider: RawProvider, path: str, form: str, streamed: bool
) -> None:
    kind, data = ("text/event-stream", EVENTS) if streamed else ("application/json", WHOLE)
    provider.script = lambda number, on_connection: [UNSIZED[form](data, kind), Then.CLOSE]
    for _ in range(3):
        reply, name = asked(served, path, streamed=streamed)
        assert reply.status == 200 and b"Hello" in reply.body
    assert served.record_of(name).completion_tokens == 2


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
@pytest.mark.parametrize("streamed", [False, True])
def test_one_that_was_cut_is_not_taken_for_whole(
    served: Served, provider: RawProvider, then: Then, streamed: bool
) -> None:
    kind, data = ("text/event-stream", CHUNKS[:-80]) if streamed else ("application/json", WHOLE[:-20])
    provider.script = lambda number, on_connection: [UNSIZED["HTTP/1.1"](data, kind), then]
    reply, name = asked(served, streamed=streamed)
    assert b"[DONE]" not in reply.body and b'"error"' in reply.body
    record = served.record_of(name)
    assert record.error_code in ("provider_disconnected", "malformed_answer")


def test_a_long_one_that_was_cut_is_not_taken_for_whole(served: Served, provider: RawProvider) -> None:
    data = b'{"data": "' + b"x" * 3_000_000
    provider.script = lambda number, on_connection: [UNSIZED["HTTP/1.1"](data, "application/json"), Then.CLOSE]
    with pytest.raises(Exception, match="IncompleteRead"):
        asked(served, streamed=False)
    provider.script = lambda number, on_connection: [
        UNSIZED["HTTP/1.1"](data + b'"} \n', "application/json"),
        Then.CLOSE,
    ]
    assert asked(served, streamed=False)[0].body == data + b'"} \n'


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_interim_answers_are_skipped(served: Served, provider: RawProvider, interim: str, streamed: bool) -> None:
    first = head("Link: </style.css>", status=interim)
    provider.script = lambda number, on_connection: [first, first + body(streamed)]
    for _ in range(2):
        assert text_of(asked(served, streamed=streamed)[0]) == "Hello"


ODD_IDS = ["org/model", "model:7b", "a model", "model[beta]", "x" * 180, "a?b#c%20d", "модель-7b"]


@pytest.mark.parametrize("model_id", ODD_IDS)
def test_the_provider_gets_its_own_id_back(served: Served, provider: RawProvider, model_id: str) -> None:
    provider.script = lambda number, on_connection: [answer(WHOLE)]
    before = served.source.current
    other = endpoint(provider, ProviderKind.OPENAI, model_id, provider="other")  # type: ignore[arg-type]
    served.source.current = with_models(before, entry("other:any", other))
    reply = served.post({"model": "other:any", **CHAT})
    served.source.current = before
    assert reply.status == 200
    assert json.loads(provider.bodies[0])["model"] == model_id


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream; charset=utf-8"])
def test_an_error_within_a_200_is_an_error_with_its_reason(
    served: Served, provider: RawProvider, path: str, kind: str
) -> None:
    """Whole or as the first event, whichever was requested."""
    event = b"data: " + CREDITS + b"\n\n"
    for data in (CREDITS, event) if "stream" not in kind else (event,):
        provider.script = lambda number, on_connection, data=data: [answer(data, kind=kind)]  # type: ignore[misc]
        for streamed in (False, True):
            reply, name = asked(served, path, streamed=streamed)
            assert reply.status == 402, (data, streamed, reply)
            assert "You are out of credits." in reply.json["error"]["message"]
            assert served.record_of(name).status == 402


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize("path", DIALECTS)
def test_a_whole_answer_in_place_of_a_stream_becomes_one(served: Served, provider: RawProvider, path: str) -> None:
    provider.script = lambda number, on_connection: [answer(WHOLE)]
    reply, name = asked(served, path, streamed=True)
    assert reply.status == 200 and reply.headers["content-type"] == "text/event-stream"
    assert b"Hello" in reply.body and DIALECTS[path][2] in reply.body
    record = served.record_of(name)
    assert (record.prompt_tokens, record.completion_tokens, record.estimated) == (4, 2, False)


def test_its_calls_become_calls(served: Served, provider: RawProvider) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    data = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    provider.script = lambda number, on_connection: [answer(data)]
    for path in ("/v1/messages", "/v1/responses"):
        reply, _ = asked(served, path, streamed=True)
        assert reply.status == 200
        assert b"call_1" in reply.body and b"call_2" in reply.body and b'{\\"a\\": 1}' in reply.body


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
def test_events_of_another_type_are_events(served: Served, provider: RawProvider, kind: str) -> None:
    provider.script = lambda number, on_connection: [answer(EVENTS, kind=kind)]
    assert text_of(asked(served, streamed=True)[0]) == "Hello"


def test_a_stream_in_place_of_a_whole_answer_is_refused_with_the_reason(served: Served, provider: RawProvider) -> None:
    provider.script = lambda number, on_connection: [stream(EVENTS)]
    reply, _ = asked(served, streamed=False)
    assert (reply.status, reply.code) == (502, "malformed_answer")
    assert "it is a stream of events" in reply.json["error"]["message"]
