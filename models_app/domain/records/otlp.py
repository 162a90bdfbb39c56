"""Access records as spans, in the JSON of OpenTelemetry's protocol (OTLP/HTTP), with its names for generative AI.

A request is one span; its children are the wait for the concurrency limit, the wait for a load, and the time with the
model. All of it is computed from the finished record, so tracing adds no latency. Ids are derived from the request's
id: a record that is sent twice is the same span. A request that names its trace (`traceparent`) is part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from models_app.domain.records.access import AccessRecord

_OPERATIONS = {
    "embeddings": "embeddings",
    "completions": "text_completion",
}
# Of OTLP: kind SERVER, INTERNAL, CLIENT; status OK and ERROR.
_SERVER, _INTERNAL, _CLIENT = 2, 1, 3
_UNSET, _ERROR = 0, 2


def body(records: Iterable[AccessRecord], resource: dict[str, str]) -> bytes:
    """The body of a POST to `/v1/traces`."""
    spans = [span for record in records for span in spans_of(record)]
    return orjson.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeSpans": [{"scope": {"name": "noa.gateway"}, "spans": spans}],
                }
            ]
        }
    )


def spans_of(record: AccessRecord) -> list[dict[str, Any]]:
    start = record.started_at
    end = start + record.duration_ms / 1000
    operation = _OPERATIONS.get(record.endpoint, "chat")
    name = f"{operation} {record.requested_model}".strip()
    spans = [_span(record, name, _SERVER, start, end, _of_request(record, operation))]
    at = start
    for wait, milliseconds in (("queue", record.queue_ms), ("load wait", record.load_wait_ms)):
        if milliseconds:
            spans.append(_span(record, wait, _INTERNAL, at, at + milliseconds / 1000, {}))
            at += milliseconds / 1000
    if record.instance_id:
        upstream = _span(record, "upstream", _CLIENT, min(at, end), end, _of_model(record))
        if record.ttft_ms is not None:
            upstream["events"] = [{"timeUnixNano": _nanoseconds(start + record.ttft_ms / 1000), "name": "first token"}]
        spans.append(upstream)
    return spans


def _of_request(record: AccessRecord, operation: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": record.requested_model,
        "http.response.status_code": record.status,
        "error.type": record.error_code,
        "noa.request_id": record.request_id,
        "noa.route": record.route,
        "noa.stream": record.stream,
        "noa.aborted": record.aborted,
        "noa.cost_usd": record.cost_usd,
        "noa.estimated": record.estimated,
        "user.id": record.end_user,
        "session.id": record.session,
        "noa.tags": record.tags,
        **_of_model(record),
    }


def _of_model(record: AccessRecord) -> dict[str, Any]:
    return {
        "gen_ai.provider.name": record.provider,
        "gen_ai.response.model": record.model_key,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "noa.node": record.node,
        "noa.instance_id": record.instance_id,
        "noa.attempts": record.attempts,
    }


def _span(
    record: AccessRecord, name: str, kind: int, start: float, end: float, facts: dict[str, Any]
) -> dict[str, Any]:
    root = _id(record.request_id, "", 8)
    span = {
        "traceId": record.trace_id or _id(record.request_id, "trace", 16),
        "spanId": root if kind == _SERVER else _id(record.request_id, name, 8),
        "name": _text(name),
        "kind": kind,
        "startTimeUnixNano": _nanoseconds(start),
        "endTimeUnixNano": _nanoseconds(end),
        "attributes": _attributes(facts),
        "status": {"code": _ERROR if record.status >= 500 and kind == _SERVER else _UNSET},
    }
    if record.trace_state:
        span["traceState"] = record.trace_state
    parent = record.parent_id if kind == _SERVER else root
    return span | {"parentSpanId": parent} if parent else span


def _id(request_id: str, what: str, size: int) -> str:
    text = f"{request_id}/{what}".encode(errors="replace")
    return hashlib.sha256(text).hexdigest()[: 2 * size]


def _nanoseconds(seconds: float) -> str:
    """Nanoseconds as a string, the form of 64-bit numbers in this JSON."""
    return str(int(seconds * 1e9))


def _attributes(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The attributes with a value: empty texts and None are left out."""
    return [{"key": name, "value": _value(fact)} for name, fact in facts.items() if fact not in ("", None)]


def _value(fact: Any) -> dict[str, Any]:
    if isinstance(fact, bool):
        return {"boolValue": fact}
    if isinstance(fact, int):
        return {"intValue": str(fact)}
    if isinstance(fact, float):
        return {"doubleValue": fact}
    return {"stringValue": _text(str(fact))}


def _text(text: str) -> str:
    """The text without lone surrogates, for which the whole body would be refused."""
    return text.encode(errors="replace").decode()
