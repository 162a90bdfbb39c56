"""Traces reach a receiver of OTLP over HTTP; an unavailable one delays nothing."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from models_app.domain.records import otlp, otlp_receiver
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.otlp_receiver import Receiver
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
    """A receiver that keeps the bodies that it takes. It answers with `statuses` first, then with 200.

    `headers` are those of its answers; `wanted` those that a request must have, which is otherwise refused with 401.
    """

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.kinds: set[tuple[str, str | None, str | None]] = set()
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.wanted: dict[str, str] = {}
        self.posts = 0
        collector = self

        class Answerer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posts += 1
                status = collector.statuses.pop(0) if collector.statuses else 200
                if any(self.headers[name] != value for name, value in collector.wanted.items()):
                    status = 401
                if status == 200:
                    encoding = self.headers["Content-Encoding"]
                    collector.kinds.add((self.path, self.headers["Content-Type"], encoding))
                    collector.bodies.append(json.loads(gzip.decompress(body) if encoding == "gzip" else body))
                self.send_response(status)
                for name, value in collector.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Logs nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def at(self, path: str = "", headers: str = "", *, compresses: bool = False) -> Receiver:
        address = f"http://127.0.0.1:{self.server.server_port}{path}"
        return Receiver(address, otlp_receiver.parse_headers(headers), compresses)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def tracer(receiver: Receiver) -> Tracer:
    return Tracer(receiver, first_pause=0.001)


def test_a_batch_reaches_the_receiver(collector: Collector) -> None:
    sending = tracer(collector.at("/"))
    sending.take([record(), record(status=502, error_code="runner_died")])
    until(lambda: sending.sent == 2, "the traces were sent")
    sending.close()
    assert collector.kinds == {("/v1/traces", "application/json", None)}
    (resource,) = collector.bodies[0]["resourceSpans"]
    names = {one["key"] for one in resource["resource"]["attributes"]}
    assert {"service.name", "host.name"} <= names
    assert len(resource["scopeSpans"][0]["spans"]) == 8


def test_a_hosted_receiver_gets_its_credentials_and_compressed_bodies(collector: Collector) -> None:
    """Langfuse: OTLP below a path, with Basic authorization."""
    credentials = base64.b64encode(b"pk-lf-1:sk-lf-2").decode()
    collector.wanted = {"Authorization": f"Basic {credentials}", "x-langfuse-ingestion-version": "4"}
    text = f"Authorization=Basic%20{quote(credentials)}, x-langfuse-ingestion-version=4"
    sending = tracer(collector.at("/api/public/otel", text, compresses=True))
    sending.take([record()])
    until(lambda: sending.sent == 1, "the traces were sent")
    sending.close()
    assert collector.kinds == {("/api/public/otel/v1/traces", "application/json", "gzip")}
    (resource,) = collector.bodies[0]["resourceSpans"]
    attributes = facts(resource["scopeSpans"][0]["spans"][0])
    assert attributes["gen_ai.provider.name"] == "openai"


@pytest.mark.parametrize("status", sorted(otlp_receiver.RETRIED))
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "soon"}])
def test_what_can_succeed_later_is_sent_again(collector: Collector, status: int, headers: dict[str, str]) -> None:
    collector.statuses, collector.headers = [status, status], headers
    sending = tracer(collector.at())
    sending.take([record()])
    until(lambda: sending.sent == 1, "the traces were sent")
    sending.close()
    assert (collector.posts, sending.dropped) == (3, 0)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 413, 500, 501])
def test_what_is_refused_is_dropped_at_once(collector: Collector, status: int) -> None:
    collector.statuses, collector.headers = [status], {"Location": f"http://127.0.0.1:{collector.server.server_port}/x"}
    sending = tracer(collector.at("", "Authorization=Basic%20c2VjcmV0"))
    sending.take([record()])
    until(lambda: sending.dropped == 1, "the traces were dropped")
    sending.close()
    assert collector.posts == 1


def test_a_receiver_that_stays_overloaded_gets_a_few_attempts(collector: Collector) -> None:
    collector.statuses = [503] * 50
    sending = tracer(collector.at())
    sending.take([record()])
    until(lambda: sending.dropped == 1, "the traces were dropped")
    sending.close()
    assert collector.posts == otlp_receiver.MAX_ATTEMPTS


def test_the_end_does_not_wait_for_a_pause(collector: Collector) -> None:
    collector.statuses, collector.headers = [503] * 50, {"Retry-After": "3600"}
    sending = tracer(collector.at())
    sending.take([record()])
    until(lambda: collector.posts == 1, "the first attempt was made")
    sending.close()
    assert (collector.posts, sending.dropped) == (2, 1)


def test_a_receiver_that_is_away_costs_only_the_traces(caplog: pytest.LogCaptureFixture) -> None:
    sending = tracer(Receiver("http://127.0.0.1:9", {"Authorization": "Basic c2VjcmV0"}))
    sending.take([record()])
    until(lambda: sending.dropped == 1, "the trace was given up")
    sending.close()
    assert "could not be sent" in caplog.text
    assert "c2VjcmV0" not in caplog.text + repr(sending._receiver)


def test_an_unsampled_trace_is_not_sent(collector: Collector) -> None:
    sending = tracer(collector.at())
    sending.take([record(is_sampled=False)])
    sending.take([record(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", parent_id="00f067aa0ba902b7", trace_state="a=1")])
    until(lambda: sending.sent == 1, "the trace was sent")
    sending.close()
    spans = collector.bodies[0]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert {span["traceState"] for span in spans} == {"a=1"}
    assert spans[0]["parentSpanId"] == "00f067aa0ba902b7"
    assert {span["parentSpanId"] for span in spans[1:]} == {spans[0]["spanId"]}


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
