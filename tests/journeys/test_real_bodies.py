"""What known clients send, from `bodies/`, is answered by a model of every kind.

An entry of a file is a request: `method` (POST), `path`, `headers`, `body` without its model. `refused` has the error
code of the kinds of models that cannot answer it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import jsonschema
import pytest

from tests.journeys.matrix import CALLER, MODELS
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

SECONDS = 60.0
KINDS = {"local": CALLER, "openai": MODELS["OpenAI-compatible"][0], "anthropic": MODELS["Anthropic"][0]}
EMBEDDER = MODELS["OpenAI-compatible"][1]
REQUESTS = {
    f"{file.stem}: {entry['name']}": entry
    for file in sorted((Path(__file__).parent / "bodies").glob("*.json"))
    for entry in json.loads(file.read_text("utf-8"))
}
# The last event of a stream, by path.
LAST = {
    "/v1/chat/completions": ("[DONE]",),
    "/v1/completions": ("[DONE]",),
    "/v1/messages": ("message_stop",),
    "/v1/responses": ("response.completed", "response.incomplete"),
}


def send(server: NoaServer, entry: dict[str, Any], model: str) -> tuple[int, str]:
    body = json.dumps({"model": model, **entry["body"]}).encode() if "body" in entry else None
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    request = Request(
        server.url + entry["path"], body, headers | entry.get("headers", {}), method=entry.get("method", "POST")
    )
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def check_stream(text: str, path: str) -> None:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    assert not any("error" in event and event["error"] for event in events), text
    last = lines[-1] if lines[-1] == "[DONE]" else events[-1]["type"]
    assert last in LAST[path], text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_of_a_known_client_is_answered(name: str, kind: str, matrix_server: NoaServer) -> None:
    entry = REQUESTS[name]
    path = entry["path"].partition("?")[0]
    model = EMBEDDER if path == "/v1/embeddings" and kind == "openai" else KINDS[kind]
    status, text = send(matrix_server, entry, model)
    if refused := entry.get("refused", {}).get(kind):
        assert 400 <= status < 500 and json.loads(text)["error"]["code"] == refused, text
        return
    assert status == 200, text
    body = entry.get("body", {})
    if body.get("stream"):
        check_stream(text, path)
    elif body:
        answer = json.loads(text)
        assert not answer.get("error"), text
        if (shape := body.get("response_format")) and kind == "local":
            content = json.loads(answer["choices"][0]["message"]["content"])
            jsonschema.validate(content, shape["json_schema"]["schema"])
