"""The official client keeps to NOA's rules: nothing of the environment, nothing about this machine, bounded bodies."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from models_app.domain.errors import NoaError
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.providers import dialects
from models_app.providers.asking.asking import Answer, Asker
from models_app.providers.wire.client import Client
from tests.fakes.openai_server import FakeOpenAI
from tests.providers.conftest import endpoint

HELLO = {"messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 20}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Each would reach the provider, or lead the request elsewhere.
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-of-the-environment",
    "OPENAI_ADMIN_KEY": "sk-admin",
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_CUSTOM_HEADERS": "X-Custom: secret",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


async def chat(remote: RemoteEndpoint) -> Answer:
    async with Asker(Target("remote:x", "i", "", frozenset(), remote)) as ask:
        return await ask.ask("chat/completions", HELLO, seconds=10)


async def served(handler: Handler, use: Callable[[RemoteEndpoint], Awaitable[object]]) -> None:
    """Runs `use` against a server that answers every request with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        await use(RemoteEndpoint("fake", ProviderKind.OPENAI, url, "m", "", allow_private=True))
    finally:
        await runner.cleanup()


def test_nothing_of_the_environment_and_of_the_machine_is_sent(
    openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    asyncio.run(dialects.list_models(endpoint(openai)))
    answer = asyncio.run(chat(endpoint(openai, model_id="gpt-4o")))
    assert answer.error == ""
    of_http = {"host", "connection", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
    allowed = of_http | {"authorization"}
    for request in openai.requests:
        assert request.headers.keys() <= allowed
        assert request.headers["authorization"] == f"Bearer {openai.key}"


def test_the_body_of_a_request_is_sent_as_it_is(openai: FakeOpenAI) -> None:
    """A probe stores the request that was sent: the client's typed calls would add fields to it."""
    openai.default = "status_500"
    body = {"input": ["a"], "unknown": {"nested": [1.5, None]}}

    async def run() -> None:
        target = Target("remote:x", "i", "", frozenset(), endpoint(openai, model_id="m"))
        async with Asker(target) as ask:
            await ask.ask("embeddings", body, seconds=10)

    asyncio.run(run())
    assert openai.requests[0].body == {"model": "m", **body}


@pytest.mark.parametrize("behaviour", ["status_500", "rate_limited_retry_after", "close_before_headers"])
def test_a_failed_request_is_not_sent_again(openai: FakeOpenAI, behaviour: str) -> None:
    openai.default = behaviour
    assert asyncio.run(chat(endpoint(openai, model_id="gpt-4o"))).error
    assert len(openai.requests) == 1


def test_a_small_body_that_unpacks_to_a_huge_one_is_cut_off() -> None:
    packed = gzip.compress(b" " * 64 * 1024 * 1024)

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async def use(remote: RemoteEndpoint) -> None:
        with pytest.raises(NoaError, match="more than 16 MiB"):
            await dialects.list_models(remote)
        assert (await chat(remote)).code == "bad_answer"

    asyncio.run(served(bomb, use))


def test_an_error_without_end_is_read_to_its_first_64_kib() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500, headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"overloaded " * 1000)

    async def use(remote: RemoteEndpoint) -> None:
        async with Client(remote) as client:
            reply = await client.request("GET", "/models")
        assert (reply.status, len(reply.body)) == (500, 64 * 1024)
        assert (await chat(remote)).status == 500

    asyncio.run(served(endless, use))


def test_a_body_that_comes_slowly_ends_with_the_time_limit() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    async def use(remote: RemoteEndpoint) -> None:
        async with Client(remote) as client:
            with pytest.raises(NoaError) as caught:
                await client.request("GET", "/models", seconds=0.3)
        assert caught.value.code == "provider_timeout"

    asyncio.run(served(slow, use))


def test_hostile_bytes_are_a_failure_with_the_name_of_the_provider() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\x00bad: \xff\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            remote = RemoteEndpoint("fake", ProviderKind.OPENAI, url, "m", "", allow_private=True)
            with pytest.raises(NoaError, match="'fake'"):
                await dialects.list_models(remote)
            assert (await chat(remote)).code == "unreachable"

    asyncio.run(run())


def test_cancelled_requests_leave_no_connection_behind() -> None:
    """httpx's own pool was full after some thousand cancelled requests."""
    waits = True

    async def answer(request: web.Request) -> web.StreamResponse:
        if waits:
            await asyncio.Event().wait()
        return web.json_response({"usage": {"prompt_tokens": 3}})

    async def use(remote: RemoteEndpoint) -> None:
        nonlocal waits
        target = Target("remote:x", "i", "", frozenset(), remote)
        async with Asker(target, connections=1, keep_alive=True) as ask:
            for _ in range(100):
                assert (await ask.ask("chat/completions", HELLO, seconds=0.005)).code == "timeout"
            waits = False
            assert (await ask.ask("chat/completions", HELLO, seconds=10)).tokens("prompt_tokens") == 3

    asyncio.run(served(answer, use))


def test_a_runner_is_asked_over_its_socket(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"usage": {"prompt_tokens": 3}})

    async def run() -> Answer:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        path = str(tmp_path / "s")
        await web.UnixSite(runner, path).start()
        try:
            async with Asker(Target("llama.cpp:x", "i", path, frozenset())) as ask:
                return await ask.ask("chat/completions", HELLO, seconds=10)
        finally:
            await runner.cleanup()

    assert asyncio.run(run()).tokens("prompt_tokens") == 3


@pytest.mark.parametrize("module", ["models_app.providers.dialects", "models_app.providers.asking.probes"])
def test_the_client_is_imported_late(module: str) -> None:
    """Web processes import these modules; `import openai` takes 0.8 s."""
    program = f"import sys, {module}; print([m for m in ('openai', 'httpx2', 'anthropic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
