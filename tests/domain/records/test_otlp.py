"""Access records as OTLP spans, attribute by attribute."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_app.domain.records import otlp
from models_app.domain.records.access import AccessRecord

START = 1_700_000_000.0
OF_MODEL = {
    "gen_ai.provider.name": {"stringValue": "openai"},
    "gen_ai.response.model": {"stringValue": "openai:x"},
    "gen_ai.usage.input_tokens": {"intValue": "7"},
    "gen_ai.usage.output_tokens": {"intValue": "11"},
    "noa.node": {"stringValue": "n1"},
    "noa.instance_id": {"stringValue": "i"},
    "noa.attempts": {"intValue": "2"},
}


def record(request_id: str = "abc-1", endpoint: str = "chat/completions", **changes: Any) -> AccessRecord:
    given: dict[str, Any] = {
        "requested_model": "current",
        "route": "default",
        "model_key": "openai:x",
        "provider": "openai",
        "node": "n1",
        "instance_id": "i",
        "status": 200,
        "prompt_tokens": 7,
        "completion_tokens": 11,
        "cost_usd": 0.25,
        "attempts": 2,
        "stream": True,
        "duration_ms": 1000.0,
        "ttft_ms": 500.0,
        "queue_ms": 125.0,
        "load_wait_ms": 250.0,
    }
    return AccessRecord(request_id, START, endpoint, **given | changes)


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in span["attributes"]}


def at(seconds: float) -> str:
    return f"{int((START + seconds) * 1e9)}"


def times(span: dict[str, Any]) -> tuple[str, str]:
    return span["startTimeUnixNano"], span["endTimeUnixNano"]


def test_a_request_is_a_server_span_with_its_facts() -> None:
    request = otlp.spans_of(record(status=429, error_code="rate_limited"))[0]
    assert (request["name"], request["kind"], request["status"]) == ("chat current", 2, {"code": 0})
    assert times(request) == (at(0), at(1))
    assert "parentSpanId" not in request
    assert attributes(request) == OF_MODEL | {
        "gen_ai.operation.name": {"stringValue": "chat"},
        "gen_ai.request.model": {"stringValue": "current"},
        "http.response.status_code": {"intValue": "429"},
        "error.type": {"stringValue": "rate_limited"},
        "noa.request_id": {"stringValue": "abc-1"},
        "noa.route": {"stringValue": "default"},
        "noa.stream": {"boolValue": True},
        "noa.aborted": {"boolValue": False},
        "noa.cost_usd": {"doubleValue": 0.25},
        "noa.estimated": {"boolValue": False},
    }


def test_its_waits_and_the_time_with_the_model_are_its_children() -> None:
    request, queue, load, upstream = otlp.spans_of(record(status=502))
    assert request["status"] == {"code": 2}
    for span, name, kind, span_times, facts in (
        (queue, "queue", 1, (at(0), at(0.125)), {}),
        (load, "load wait", 1, (at(0.125), at(0.375)), {}),
        (upstream, "upstream", 3, (at(0.375), at(1)), OF_MODEL),
    ):
        assert (span["name"], span["kind"], times(span), attributes(span)) == (name, kind, span_times, facts)
        assert (span["parentSpanId"], span["traceId"]) == (request["spanId"], request["traceId"])
        # The request failed, not its parts.
        assert span["status"] == {"code": 0}
    assert upstream["events"] == [{"timeUnixNano": at(0.5), "name": "first token"}]


@pytest.mark.parametrize(("status", "code"), [(499, 0), (500, 2), (501, 2)])
def test_only_errors_of_the_server_are_errors_of_the_span(status: int, code: int) -> None:
    assert otlp.spans_of(record(status=status))[0]["status"] == {"code": code}


@pytest.mark.parametrize(
    ("endpoint", "model", "name"),
    [
        ("chat/completions", "m", "chat m"),
        ("messages", "m", "chat m"),
        ("completions", "m", "text_completion m"),
        ("embeddings", "m", "embeddings m"),
        ("embeddings", "", "embeddings"),
    ],
)
def test_the_name_of_a_span_is_operation_and_model(endpoint: str, model: str, name: str) -> None:
    request = otlp.spans_of(record(endpoint=endpoint, requested_model=model))[0]
    assert request["name"] == name
    assert attributes(request)["gen_ai.operation.name"] == {"stringValue": name.split()[0]}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"queue_ms": None}, ["load wait", "upstream"]),
        ({"queue_ms": 0.0, "load_wait_ms": 0.0}, ["upstream"]),
        ({"load_wait_ms": None}, ["queue", "upstream"]),
        ({"instance_id": ""}, ["queue", "load wait"]),
    ],
)
def test_a_part_that_did_not_happen_has_no_span(changes: dict[str, Any], names: list[str]) -> None:
    assert [span["name"] for span in otlp.spans_of(record(**changes))[1:]] == names


def test_a_request_without_a_token_has_no_first_token() -> None:
    assert "events" not in otlp.spans_of(record(ttft_ms=None))[-1]


def test_waits_longer_than_the_request_end_with_it() -> None:
    upstream = otlp.spans_of(record(load_wait_ms=5000.0))[-1]
    assert times(upstream) == (at(1), at(1))


def test_ids_depend_on_the_request_alone_and_differ_from_each_other() -> None:
    first, again, other = otlp.spans_of(record()), otlp.spans_of(record(status=500)), otlp.spans_of(record("abc-2"))
    assert [span["spanId"] for span in first] == [span["spanId"] for span in again]
    assert first[0]["traceId"] == again[0]["traceId"]
    ids = {span["spanId"] for span in [*first, *other]}
    assert len(ids) == 8
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)
    traces = {first[0]["traceId"], other[0]["traceId"]}
    assert len(traces) == 2
    assert all(len(one) == 32 and not one.startswith(tuple(ids)) for one in traces)


def test_ids_are_the_same_in_every_version() -> None:
    """A record that is sent again after an upgrade is the same span."""
    request, queue = otlp.spans_of(record())[:2]
    assert request["traceId"] == "abd00725667b3f0c97ac271092c06e77"
    assert (request["spanId"], queue["spanId"]) == ("76dfdf733a33a5a5", "044be2be1866631a")


def test_what_is_unknown_is_left_out_but_zero_and_false_are_sent() -> None:
    empty = attributes(otlp.spans_of(AccessRecord("a", START, "embeddings"))[0])
    assert empty == {
        "gen_ai.operation.name": {"stringValue": "embeddings"},
        "http.response.status_code": {"intValue": "0"},
        "noa.request_id": {"stringValue": "a"},
        "noa.stream": {"boolValue": False},
        "noa.aborted": {"boolValue": False},
        "noa.estimated": {"boolValue": False},
        "noa.attempts": {"intValue": "0"},
    }


def test_the_body_names_its_source_and_holds_the_spans_of_all_records() -> None:
    batch = [record(), record("abc-2")]
    assert json.loads(otlp.body(iter(batch), {"service.name": "noa", "host.name": ""})) == {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "noa"}}]},
                "scopeSpans": [
                    {"scope": {"name": "noa.gateway"}, "spans": [span for one in batch for span in otlp.spans_of(one)]}
                ],
            }
        ]
    }


@pytest.mark.parametrize("text", ["é", "a\ud800b", "\0"])
def test_any_text_can_be_sent(text: str) -> None:
    body = otlp.body([record(f"id {text}", requested_model=text, route=text)], {"host.name": text})
    assert len(json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 4
