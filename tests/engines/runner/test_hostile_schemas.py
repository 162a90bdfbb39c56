"""Hostile schemas of every family, at every endpoint and in every place: each ends alone, and the runner lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.gateway.dialects import dialects
from tests.engines.runner import program
from tests.engines.runner.grammar import hostile
from tests.engines.runner.program import Program
from tests.fakes.gguf_files import write_tiny_gguf
from tests.gateway.chat_forms import forms

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
# A tool's definition is part of the prompt too.
ENDED = {(400, "invalid_schema"), (422, "schema_too_slow"), (400, "context_length_exceeded")}
PARAMS = ("tools", "response_format", "messages")
TRANSLATIONS = {"messages": dialects.MESSAGES.translation, "responses": dialects.RESPONSES.translation}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """With a context that holds the definitions of most tools."""
    folder = tmp_path_factory.mktemp("run")
    running = program.launch(folder, write_tiny_gguf(folder / "wide.gguf", context=8192), n_ctx=8192)
    yield running.wait_ready()
    running.end()


def as_chat(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The request that the runner receives."""
    translation = TRANSLATIONS.get(endpoint)
    return body if translation is None else translation.request(body, model_id="m")


@pytest.mark.parametrize("place", ["schema", "tool"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])
def test_a_hostile_schema_ends_alone(runner: Program, endpoint: str, place: str) -> None:
    assert runner.ready is not None
    seed = 2 * list(TRANSLATIONS).index(endpoint) + 3 if endpoint in TRANSLATIONS else 1
    for name, schema in hostile.schemas(seed + (place == "tool"), of_each=1):
        wanted: Any = {
            place: schema if schema.get("type") == "object" or place == "schema" else hostile.in_object(schema)
        }
        try:
            body = as_chat(endpoint, forms("Hi", 60, **wanted)[endpoint])
        except InvalidRequest as error:
            assert error.code == "invalid_schema", name
            continue
        status, answer = runner.post(CHAT, **body | {"temperature": 1.8, "seed": 1})
        if status != 200:
            assert (status, answer["error"]["code"]) in ENDED, name
            assert answer["error"]["param"] is None or answer["error"]["param"].startswith(PARAMS)
        assert runner.health()["pid"] == runner.ready.pid
        assert runner.chat(max_tokens=2)[0] == 200, name


def test_a_schema_that_takes_long_is_refused(runner: Program) -> None:
    schema = hostile.in_object({"type": "integer", "minimum": -(10**12), "maximum": 10**15, "multipleOf": 12345677})
    described = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    status, answer = runner.chat(response_format=described, max_tokens=200)
    assert (status, answer["error"]["code"]) == (422, "schema_too_slow"), answer
    assert answer["error"]["param"] == "response_format.json_schema.schema"
    assert runner.chat(max_tokens=2)[0] == 200
