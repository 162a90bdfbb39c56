"""Bad files and bad requests: each gets a clear error, and the server answers afterwards."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gguf_files import write_tiny_gguf
from tests.journeys.rows import query
from tests.journeys.server import ROOT, NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

HELLO = [{"role": "user", "content": "Hello!"}]
CHAT = {"model": "current", "messages": HELLO, "max_tokens": 8}
DEMO = ROOT / "models_app" / "demo" / "noa-demo-tide.gguf"


@pytest.fixture(scope="module")
def bad_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """A server whose model folder contains every kind of invalid file."""
    folder = tmp_path_factory.mktemp("bad-models")
    make_bad_files(folder)
    data = tmp_path_factory.mktemp("bad") / "data"
    server = NoaServer(data, {"NOA_MODELS_DIR": str(folder)}).start()
    yield server
    server.stop()


def make_bad_files(folder: Path) -> None:
    whole = DEMO.read_bytes()
    (folder / "empty.gguf").touch()
    (folder / "truncated.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "corrupted.gguf").write_bytes(whole[:64] + os.urandom(4096) + whole[4160:])
    (folder / "magic.gguf").write_bytes(b"NOPE" + whole[4:])
    (folder / "directory.gguf").mkdir()
    os.mkfifo(folder / "fifo.gguf")
    (folder / "outside.gguf").symlink_to("/etc/passwd")
    write_tiny_gguf(folder / "broken-template.gguf", chat_template="{% for m in %}")
    write_tiny_gguf(folder / "good.gguf")
    write_tiny_gguf(folder / "other.gguf", seed=2)
    shutil.copy(DEMO, folder / "vanishing.gguf")


def assert_answers(server: NoaServer) -> None:
    status, answer = server.api("POST", "/v1/chat/completions", CHAT)
    assert status == 200, answer


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "empty"),
        ("truncated", ""),
        ("corrupted", ""),
        ("magic", "GGUF"),
        ("fifo", ""),
        ("outside", ""),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_the_reason(bad_server: NoaServer, name: str, words: str) -> None:
    status, job = bad_server.api("POST", "/api/v1/models/discover?wait=60")
    assert status == 200
    found = job["result"]["providers"]["llama.cpp"]
    refused = {Path(item["name"]).name: item["reason"] for item in found["refused"]}
    assert f"{name}.gguf" in refused, refused
    assert len(refused[f"{name}.gguf"]) > 20
    assert words in refused[f"{name}.gguf"]
    status, answer = bad_server.api("POST", "/api/v1/models/load", {"key": f"llama.cpp:{name}"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert_answers(bad_server)


def test_a_directory_is_no_model(bad_server: NoaServer) -> None:
    status, _ = bad_server.api("GET", "/api/v1/models/llama.cpp:directory")
    assert status == 404


def test_a_model_whose_template_is_broken_fails_to_load_and_says_why(
    bad_server: NoaServer,
) -> None:
    body = {"key": "llama.cpp:broken-template"}
    status, answer = bad_server.api("POST", "/api/v1/models/switch?wait=60", body)
    assert (status, answer["error"]["code"]) == (409, "load_failed")
    assert "template" in answer["error"]["message"]
    assert "'current' still leads to" in answer["error"]["message"]
    _, model = bad_server.api("GET", "/api/v1/models/llama.cpp:broken-template")
    assert (model["status"], model["failure"]["stage"]) == ("failed", "template")
    assert_answers(bad_server)


def test_a_file_that_vanished_after_it_was_found(bad_server: NoaServer) -> None:
    path = Path(bad_server.environment["NOA_MODELS_DIR"]) / "vanishing.gguf"
    path.unlink()
    body = {"key": "llama.cpp:vanishing"}
    status, answer = bad_server.api("POST", "/api/v1/models/load?wait=60", body)
    assert status == 409
    assert "vanishing.gguf" in answer["error"]["message"]
    assert_answers(bad_server)


def test_twenty_clients_that_load_the_same_model_make_one_load(bad_server: NoaServer) -> None:
    body = {"key": "llama.cpp:other"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: bad_server.api("POST", "/api/v1/models/load?wait=60", body), range(20)))
    assert {status for status, _ in answers} == {200}
    assert len({job["result"]["instance"] for _, job in answers}) == 1
    loads = query(
        bad_server,
        "SELECT count(*) FROM models_app_event WHERE name = 'model-loading' AND subject = 'llama.cpp:other'",
    )
    assert loads == [(1,)]
    status, _ = bad_server.api("POST", "/api/v1/models/unload?wait=60", body)
    assert status == 200
    status, answer = bad_server.api("POST", "/api/v1/models/unload?wait=60", body)
    assert (status, answer["error"]["code"]) == (409, "model_not_loaded")


CHANGES: dict[str, tuple[dict[str, Any], int]] = {
    "max_tokens 0": ({"max_tokens": 0}, 400),
    "max_tokens -1": ({"max_tokens": -1}, 400),
    "max_tokens text": ({"max_tokens": "8"}, 400),
    "grammar": ({"grammar": "root := x"}, 400),
    "malformed schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "banana"}}}},
        400,
    ),
    "endless schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}},
            }
        },
        400,
    ),
    "schema with a bad pattern": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "^(((("}},
            }
        },
        400,
    ),
    "unknown model": ({"model": "nobody"}, 404),
    "model number": ({"model": 7}, 400),
    "no messages": ({"messages": []}, 400),
    "image": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        400,
    ),
    "long prompt": ({"messages": [{"role": "user", "content": "word " * 100_000}]}, 400),
    "template": ({"chat_template": "{{ 1 }}"}, 400),
    "base url": ({"base_url": "http://127.0.0.1:1"}, 400),
    "n": ({"n": 1_000_000}, 400),
    "temperature": ({"temperature": -1}, 400),
    "embedding model": ({"model": "not-there", "input": "x"}, 404),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bad_request_is_refused_and_the_same_runner_answers_on(bad_server: NoaServer, case: str) -> None:
    change, expected = CHANGES[case]
    before = bad_server.runner_pids()
    status, answer = bad_server.api("POST", "/v1/chat/completions", CHAT | change)
    assert status == expected, answer
    assert len(answer["error"]["message"]) > 15
    assert answer["error"]["request_id"]
    assert_answers(bad_server)
    assert bad_server.runner_pids() == before


@pytest.mark.parametrize(("key", "code"), [("", "invalid_api_key"), ("noa_000000000000_wrong", "invalid_api_key")])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/models/load"])
def test_no_key_and_a_wrong_key_are_refused(bad_server: NoaServer, path: str, key: str, code: str) -> None:
    status, answer = bad_server.api("POST", path, CHAT, key=key)
    assert status == 401
    assert answer["error"]["type"] == "authentication_error"
    assert_answers(bad_server)


def raw(server: NoaServer, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    with closing(connection):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/models/load", "/nowhere"])
def test_a_body_of_64_mib_is_refused(bad_server: NoaServer, path: str) -> None:
    try:
        status, body = raw(bad_server, path, b" " * (64 << 20))
    except (BrokenPipeError, ConnectionResetError):
        # The server closed before it had read everything, as it should.
        status, body = 413, b'{"error"'
    assert status == 413
    assert b'"error"' in body
    assert_answers(bad_server)


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff", b'{"model": "current"', b"[" * 100_000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_malformed_json_is_refused(bad_server: NoaServer, path: str, body: bytes) -> None:
    status, answer = raw(bad_server, path, body)
    assert status == 400
    assert b'"error"' in answer
    assert_answers(bad_server)


Own = Callable[..., NoaServer]


def test_a_runner_that_is_killed_costs_no_request_that_comes_after(own_server: Own) -> None:
    server = own_server().start()
    (pid,) = server.runner_pids()
    os.kill(pid, signal.SIGKILL)
    assert_answers(server)
    (successor,) = server.runner_pids()
    assert successor != pid
