"""The schema of an answer is read from every field in which clients send it, or the request is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.traffic.inference import ResponseFormat
from tests.domain.traffic.test_inference import chat

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PLACES: dict[str, dict[str, Any]] = {
    "OpenAI": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    "without json_schema": {"response_format": {"type": "json_schema", "schema": SCHEMA}},
    "json_object": {"response_format": {"type": "json_object", "schema": SCHEMA}},
    "llama-server": {"json_schema": SCHEMA},
    "Ollama": {"format": SCHEMA},
    "vLLM": {"structured_outputs": {"json": SCHEMA}},
    "vLLM, other alternatives null": {"structured_outputs": {"json": SCHEMA, "regex": None, "disable_fallback": False}},
    "vLLM, older": {"guided_json": SCHEMA},
    "vLLM, older, as text": {"guided_json": json.dumps(SCHEMA)},
}


@pytest.mark.parametrize("given", PLACES.values(), ids=PLACES)
def test_it_is_read(given: dict[str, Any]) -> None:
    assert chat(**given).response_format == ResponseFormat("json_schema", SCHEMA)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"response_format": {"type": "text"}}, "text"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"response_format": {"type": "json_object", "schema": None}}, "json_object"),
        ({"format": "json"}, "json_object"),
        ({"format": ""}, "text"),
    ],
)
def test_other_forms(given: dict[str, Any], kind: str) -> None:
    assert chat(**given).response_format == ResponseFormat(kind)


def test_strict_is_read_in_both_forms_of_openai() -> None:
    whole = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    flat = {"type": "json_schema", "schema": SCHEMA, "strict": True}
    for form in (whole, flat):
        assert chat(response_format=form).response_format.strict


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_schema", "schema": 1}}, "response_format.schema"),
        ({"response_format": {"schema": SCHEMA}}, "response_format.type"),
        ({"json_schema": "no JSON"}, "json_schema"),
        ({"json_schema": []}, "json_schema"),
        ({"guided_json": "[1]"}, "guided_json"),
        ({"format": "xml"}, "format"),
        ({"structured_outputs": {}}, "structured_outputs.json"),
        ({"structured_outputs": "json"}, "structured_outputs"),
        ({"format": {"type": "string", "description": "x" * 70_000}}, "format"),
    ],
)
def test_what_is_no_schema_is_refused(given: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chat(**given)
    assert refusal.value.param == param


@pytest.mark.parametrize("name", ["regex", "choice", "grammar", "structural_tag", "json_object"])
def test_alternatives_that_no_grammar_can_be_made_of_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f"'structured_outputs.{name}' is not supported"):
        chat(structured_outputs={name: "x", "json": SCHEMA})


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations(["OpenAI", "llama-server", "Ollama", "vLLM"], 2))
)
def test_two_forms_are_refused(one: str, other: str) -> None:
    with pytest.raises(InvalidRequest, match="Give either .* not both"):
        chat(**PLACES[one], **PLACES[other])
