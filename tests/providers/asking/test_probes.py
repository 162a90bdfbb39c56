"""Each probe judges the real answers of a server."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.traffic.routing import Target
from models_app.providers.asking import probes
from models_app.providers.asking.asking import Asker
from models_app.providers.asking.probes import PROBES, Probed
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeUpstream]:
    with (
        tempfile.TemporaryDirectory(prefix="noa-") as folder,
        FakeUpstream(f"{folder}/runner.sock") as fake,
    ):
        yield fake


@pytest.fixture
def upstream(shared: FakeUpstream) -> FakeUpstream:
    shared.reset()
    return shared


def run(upstream: FakeUpstream | None, capability: Capability) -> Probed:
    socket = upstream.path if upstream else "/nonexistent/runner.sock"

    async def ask() -> Probed:
        target = Target("llama.cpp:tiny", "i", socket, frozenset())
        async with Asker(target) as asker:
            return await PROBES[capability](asker)

    return asyncio.run(ask())


def answers(upstream: FakeUpstream, body: Any, status: str = "200 OK") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    upstream.raw = head.encode() + data
    upstream.script(*["raw"] * 3)


def message(**fields: Any) -> dict[str, Any]:
    reason = fields.pop("finish_reason", "stop")
    return {"choices": [{"message": {"role": "assistant", **fields}, "finish_reason": reason}]}


def call(arguments: str, name: str = "get_weather") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return message(content=None, tool_calls=[{"type": "function", "function": function}])


def vectors(*values: list[float]) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": value} for n, value in enumerate(values)]}


CITY = '{"city": "Paris", "people": 2}'
WEATHER = '{"city": "Paris", "unit": "C"}'


@pytest.mark.parametrize(
    ("capability", "body", "verdict"),
    [
        (Capability.CHAT_COMPLETION, message(content="Hello!"), "supported"),
        (Capability.CHAT_COMPLETION, message(content=None, reasoning_content="Hm"), "supported"),
        (Capability.CHAT_COMPLETION, message(content="  "), "unsupported"),
        (Capability.CHAT_COMPLETION, {}, "unsupported"),
        (Capability.CHAT_COMPLETION, {"choices": "x"}, "unsupported"),
        (Capability.CHAT_COMPLETION, [], "inconclusive"),
        (Capability.CHAT_COMPLETION, b"<html>", "inconclusive"),
        (Capability.TEXT_GENERATION, {"choices": [{"text": "east"}]}, "supported"),
        (Capability.TEXT_GENERATION, {"choices": [{"text": ""}]}, "unsupported"),
        (Capability.JSON_MODE, message(content=CITY), "supported"),
        (Capability.JSON_MODE, message(content='{"city": "Paris"}'), "unsupported"),
        (Capability.JSON_MODE, message(content='{"city": "Paris", "people": "2"}'), "unsupported"),
        (Capability.JSON_MODE, message(content=CITY[:-1] + ', "x": 1}'), "unsupported"),
        (Capability.JSON_MODE, message(content='{"city": "Paris", "people": true}'), "unsupported"),
        (Capability.JSON_MODE, message(content="Paris"), "unsupported"),
        (Capability.JSON_MODE, message(content='{"ci', finish_reason="length"), "inconclusive"),
        (Capability.FUNCTION_CALLING, call(WEATHER), "supported"),
        (Capability.FUNCTION_CALLING, call(WEATHER, name="other"), "unsupported"),
        (Capability.FUNCTION_CALLING, call('{"city": "Paris", "unit": "K"}'), "unsupported"),
        (Capability.FUNCTION_CALLING, call("Paris"), "unsupported"),
        (Capability.FUNCTION_CALLING, message(content="It is warm."), "unsupported"),
        (Capability.EMBEDDINGS, vectors([1, 0], [1, 0], [0, 1]), "supported"),
        (Capability.EMBEDDINGS, vectors([1, 0], [1, 0], [1, 0]), "unsupported"),
        (Capability.EMBEDDINGS, vectors([1, 0], [0, 1], [0, 1]), "unsupported"),
        (Capability.EMBEDDINGS, vectors([1, 0], [1, 0], [1, 0, 0]), "unsupported"),
        (Capability.EMBEDDINGS, vectors([0, 0], [0, 0], [0, 0]), "unsupported"),
        (Capability.EMBEDDINGS, vectors([1, 0]), "unsupported"),
        (Capability.EMBEDDINGS, {"data": ["x"]}, "unsupported"),
        (Capability.VISION, message(content="Red."), "supported"),
        (Capability.VISION, message(content="I see a cat."), "inconclusive"),
    ],
)
def test_it_judges_an_answer(upstream: FakeUpstream, capability: Capability, body: Any, verdict: str) -> None:
    answers(upstream, body)
    probed = run(upstream, capability)
    assert (probed.capability, probed.verdict) == (capability, verdict), probed.detail
    assert probed.detail.endswith(".")


@pytest.mark.parametrize("capability", PROBES)
def test_a_refusal_is_a_verdict(upstream: FakeUpstream, capability: Capability) -> None:
    error = {"error": {"message": "This model cannot do that.", "code": "not_supported"}}
    answers(upstream, error, "400 Bad Request")
    probed = run(upstream, capability)
    assert probed.verdict == Verdict.UNSUPPORTED
    assert "This model cannot do that." in probed.detail


@pytest.mark.parametrize("status", ["401 Unauthorized", "429 Too Many", "500 Oh", "503 Busy"])
def test_a_server_that_cannot_now_is_no_verdict(upstream: FakeUpstream, status: str) -> None:
    answers(upstream, {"error": {"message": "Not now."}}, status)
    assert run(upstream, Capability.CHAT_COMPLETION).verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("word", ["close", "half_head", "cut_body"])
def test_a_connection_that_breaks_is_no_verdict(upstream: FakeUpstream, word: str) -> None:
    upstream.script(word)
    assert run(upstream, Capability.CHAT_COMPLETION).verdict == Verdict.INCONCLUSIVE


def test_a_model_that_hangs_is_no_verdict(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.1)
    upstream.script("hang")
    probed = run(upstream, Capability.CHAT_COMPLETION)
    assert probed.verdict == Verdict.INCONCLUSIVE
    assert "0.1 s" in probed.detail


def test_a_model_that_is_not_there_is_no_verdict() -> None:
    assert run(None, Capability.CHAT_COMPLETION).verdict == Verdict.INCONCLUSIVE


def test_a_stream_comes_in_pieces(upstream: FakeUpstream) -> None:
    probed = run(upstream, Capability.STREAMING)
    assert probed.verdict == Verdict.SUPPORTED
    assert "4 pieces" in probed.detail


def test_a_stream_that_is_cut_is_no_verdict(upstream: FakeUpstream) -> None:
    upstream.script("cut_stream")
    assert run(upstream, Capability.STREAMING).verdict == Verdict.INCONCLUSIVE


def test_a_whole_answer_is_no_stream(upstream: FakeUpstream) -> None:
    answers(upstream, b"data: " + json.dumps(message(content="all")).encode() + b"\n\ndata: [DONE]\n\n")
    assert run(upstream, Capability.STREAMING).verdict == Verdict.UNSUPPORTED


def test_schemas_that_are_refused_leave_plain_json(upstream: FakeUpstream) -> None:
    upstream.script("bad_request")
    probed = run(upstream, Capability.JSON_MODE)
    assert probed.request["response_format"] == {"type": "json_object"}
    assert len(upstream.exchanges) == 2


def test_a_server_that_wants_the_newer_name_gets_it(upstream: FakeUpstream) -> None:
    error = {
        "message": "Unsupported parameter: use 'max_completion_tokens'.",
        "param": "max_tokens",
    }
    answers(upstream, {"error": error}, "400 Bad Request")
    upstream.script("raw")
    probed = run(upstream, Capability.CHAT_COMPLETION)
    assert probed.verdict == Verdict.SUPPORTED
    assert "max_tokens" not in probed.request
    assert probed.request["max_completion_tokens"] == 64


def test_equal_requests_have_equal_digests(upstream: FakeUpstream) -> None:
    one, other = (
        run(upstream, Capability.CHAT_COMPLETION),
        run(upstream, Capability.CHAT_COMPLETION),
    )
    assert one.digest == other.digest
    assert len(one.digest) == 64
    assert one.digest != run(upstream, Capability.STREAMING).digest
    assert json.loads(upstream.exchanges[0].body)["model"] == "llama.cpp:tiny"
