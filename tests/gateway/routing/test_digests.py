"""One digest for one computation, whichever endpoint of a chat receives it."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.gateway.edge.app import ENDPOINTS
from models_app.gateway.http.request_body import ParsedBody
from models_app.gateway.routing.inference import Inference
from tests.gateway.chat_forms import forms

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x{1,30}$"}}}


def digest(name: str, body: dict[str, Any] | bytes) -> str:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    unused = cast(Any, None)
    return Inference(unused, BY_NAME[name], b"", ParsedBody("m", False, raw), 0.0, unused).digest()


@given(st.text(), st.integers(1, 9999), st.sampled_from([{}, {"schema": SCHEMA}, {"tool": SCHEMA}]))
def test_the_endpoints_of_a_chat_share_their_digests(text: str, limit: int, more: dict[str, Any]) -> None:
    assert len({digest(name, body) for name, body in forms(text, limit, **more).items()}) == 1


@given(st.text(), st.text())
def test_other_texts_have_other_digests_at_every_endpoint(one: str, other: str) -> None:
    for name, body in forms(one, 5).items():
        assert (digest(name, body) == digest(name, forms(other, 5)[name])) == (one == other)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "embeddings"])
@pytest.mark.parametrize(
    "more",
    [
        {"store": False},
        {"safety_identifier": "a"},
        {"user": "a"},
        {"metadata": {"user_id": "a"}},
        {"stream": True},
        {"temperature": 1.0},
        {"temperature": 1},
        {"top_p": 1},
        {"unknown": [1]},
    ],
    ids=str,
)
def test_what_changes_no_computation_changes_no_digest(name: str, more: dict[str, Any]) -> None:
    if name == "messages/count_tokens":
        name = "messages"
    body = forms("x", 5).get(name) or {"model": "m", "prompt": "x"}
    assert digest(name, body | more) == digest(name, body)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"{}", b'{"model":"m"}', b'{"a":' * 80 + b"1" + b"}" * 80])
def test_a_body_that_cannot_be_parsed_has_the_digest_of_its_bytes(raw: bytes) -> None:
    for name in BY_NAME:
        assert digest(name, raw) == digest(name, raw)
        assert digest(name, raw) != digest(name, raw + b" ")
