"""Traces reach a receiver of OTLP over HTTP; an unavailable one delays nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models_app.domain.records import otlp
from models_app.domain.records.access import AccessRecord
from models_app.services.access_log.tracing import Tracer
from tests.waiting import until


def record(**changes: Any) -> AccessRecord:
    given: dict[str, Any] = {
        "requested_model": "current",
        "route": "current",
        "model_key": "openai:x",
        "provider": "openai",
        "status": 200,
        "instance_id": "i",
        "prompt_tokens": 7,
        "completion_tokens": 11,
        "duration_ms": 1_000.0,
        "ttft_ms": 600.0,
        "queue_ms": 100.0,
        "load_wait_ms": 200.0,
        "stream": True,
        "key_id": "secretkeyid",
    }
    return AccessRecord("abc-1", 1_700_000_000.0, "chat/completions", **given | changes)


class Collector:
    """A receiver that keeps the bodies that it receives."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.kinds: set[tuple[str, str | None]] = set()
        collector = self

        class Answerer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.kinds.add((self.path, self.headers["Content-Type"]))
                collector.bodies.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Logs nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def test_a_batch_reaches_the_receiver(collector: Collector) -> None:
    tracer = Tracer(f"http://127.0.0.1:{collector.server.server_port}/")
    tracer.take([record(), record(status=502, error_code="runner_died")])
    until(lambda: tracer.sent == 2, "the traces were sent")
    tracer.close()
    assert collector.kinds == {("/v1/traces", "application/json")}
    (resource,) = collector.bodies[0]["resourceSpans"]
    names = {one["key"] for one in resource["resource"]["attributes"]}
    assert {"service.name", "host.name"} <= names
    assert len(resource["scopeSpans"][0]["spans"]) == 8


def test_a_receiver_that_is_away_costs_only_the_traces(caplog: pytest.LogCaptureFixture) -> None:
    tracer = Tracer("http://127.0.0.1:9")
    tracer.take([record()])
    until(lambda: tracer.dropped == 1, "the trace was given up")
    tracer.close()
    assert "could not be sent" in caplog.text


def facts(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_spans_follow_each_other_under_the_request() -> None:
    request, queue, load, upstream = otlp.spans_of(record())
    assert [one["name"] for one in (request, queue, load, upstream)] == [
        "chat current",
        "queue",
        "load wait",
        "upstream",
    ]
    assert {one["traceId"] for one in (request, queue, load, upstream)} == {request["traceId"]}
    assert (len(request["traceId"]), len(request["spanId"])) == (32, 16)
    assert all(one["parentSpanId"] == request["spanId"] for one in (queue, load, upstream))
    assert queue["endTimeUnixNano"] == load["startTimeUnixNano"]
    assert load["endTimeUnixNano"] == upstream["startTimeUnixNano"]
    assert upstream["endTimeUnixNano"] == request["endTimeUnixNano"]
    assert upstream["events"][0]["name"] == "first token"
    found = facts(request)
    assert found["gen_ai.operation.name"] == "chat"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == ("7", "11")
    assert found["http.response.status_code"] == "200"


def test_a_request_that_reached_no_model_is_one_span() -> None:
    refused = record(status=401, instance_id="", queue_ms=None, load_wait_ms=None, ttft_ms=None)
    assert len(otlp.spans_of(refused)) == 1
    failed = otlp.spans_of(record(status=503, error_code="runner_died"))[0]
    assert failed["status"] == {"code": 2}
    assert facts(failed)["error.type"] == "runner_died"


def test_a_span_names_no_key_and_no_client() -> None:
    text = otlp.body([record(client="10.1.2.3")], {}).decode()
    assert "secretkeyid" not in text
    assert "10.1.2.3" not in text
