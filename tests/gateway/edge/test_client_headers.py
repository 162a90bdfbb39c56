"""Answers have the headers that clients of LiteLLM read, and what clients state is in the record."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.catalog.pricing import Price
from models_app.gateway.calls import answer_headers
from tests.fakes.upstream import FakeUpstream
from tests.gateway.wire import CHAT, Served, request

MESSAGE = {"role": "user", "content": "Hi"}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def chat(gateway: Served, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return gateway.post({"model": "current", "messages": [MESSAGE], **(body or {})}, **headers)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_names_its_call_model_and_attempts(gateway: Served, stream: bool) -> None:
    found = chat(gateway, {"stream": stream}, x_request_id=f"headers-{stream}").headers
    assert found["x-request-id"] == f"headers-{stream}"
    assert found["x-litellm-model-id"] == found["x-noa-model"] == CHAT
    assert found["x-litellm-model-group"] == "current"
    assert (found["x-litellm-attempted-retries"], found["x-litellm-attempted-fallbacks"]) == ("0", "0")
    assert 0 <= float(found["x-litellm-response-duration-ms"]) < 60_000
    assert "x-litellm-response-cost" not in found
    (record,) = [record for record in gateway.records() if record.client_request_id == f"headers-{stream}"]
    assert found["x-litellm-call-id"] == record.request_id


def test_a_whole_answer_of_a_priced_model_states_its_cost(gateway: Served, upstream: FakeUpstream) -> None:
    found = gateway.source.current
    target = found.models[CHAT].target
    assert target is not None
    priced = replace(found.models[CHAT], target=replace(target, price=Price(Decimal(1), Decimal(2))))
    gateway.source.current = replace(found, models={**found.models, CHAT: priced})
    answer = chat(gateway, x_request_id="priced-1")
    usage = answer.json["usage"]
    expected = (usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1e6
    assert float(answer.headers["x-litellm-response-cost"]) == pytest.approx(expected)
    (record,) = [record for record in gateway.records() if record.client_request_id == "priced-1"]
    assert record.cost_usd == pytest.approx(expected)
    assert "x-litellm-response-cost" not in chat(gateway, {"stream": True}).headers


def test_errors_have_them_and_lists_do_not(gateway: Served) -> None:
    assert "x-litellm-call-id" in gateway.post({"model": "nothing"}).headers
    assert "x-litellm-call-id" not in gateway.get("/v1/models").headers


def test_the_record_has_what_the_client_states(gateway: Served) -> None:
    chat(
        gateway,
        {"user": "in-the-body"},
        x_request_id="stated-1",
        x_litellm_tags="a,b",
        x_session_id="s-1",
        traceparent=f"00-{TRACE}-{PARENT}-01",
        tracestate="k=v",
    )
    (record,) = [record for record in gateway.records() if record.client_request_id == "stated-1"]
    assert (record.end_user, record.session, record.tags) == ("in-the-body", "s-1", "a,b")
    assert (record.trace_id, record.parent_id, record.trace_state) == (TRACE, PARENT, "k=v")


def test_a_repeated_traceparent_is_ignored(gateway: Served) -> None:
    line = f"traceparent: 00-{TRACE}-{PARENT}-01\r\n".encode()
    data = request({"model": "current", "messages": [MESSAGE]}, x_request_id="twice-1")
    with gateway.wire() as wire:
        assert wire.send(data.replace(b"\r\n\r\n", b"\r\n" + 2 * line + b"\r\n", 1)).answer().status == 200
    (record,) = [record for record in gateway.records() if record.client_request_id == "twice-1"]
    assert record.trace_id == ""


@given(st.text())
def test_any_name_fits_into_a_header(name: str) -> None:
    value = answer_headers.value(name)
    assert all(0x20 <= byte < 0x7F for byte in value)
