"""What clients state of themselves: their traces, end users, sessions and tags."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.records import caller
from models_app.domain.records.access import AccessRecord

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def noted(body: Any = None, **headers: str | bytes) -> AccessRecord:
    record = AccessRecord("a-1", 1.0, "chat/completions")
    encoded = {
        name.replace("_", "-").encode(): value.encode() if isinstance(value, str) else value
        for name, value in headers.items()
    }
    caller.note_headers(record, encoded)
    caller.note_body(record, caller.of_body(body or {}))
    return record


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"00-{TRACE}-{PARENT}-fe", False),
        # A later version, as far as this one knows it.
        (f"cc-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-will-be", True),
        (f" 00-{TRACE}-{PARENT}-01\t", True),
    ],
)
def test_a_valid_trace_is_joined(value: str, is_sampled: bool) -> None:
    record = noted(traceparent=value)
    assert (record.trace_id, record.parent_id, record.is_sampled) == (TRACE, PARENT, is_sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-0x",
        b"\xff" * 55,
        "x" * 100_000,
    ],
)
def test_an_invalid_trace_is_ignored_with_its_state(value: str | bytes) -> None:
    record = noted(traceparent=value, tracestate="a=1")
    assert (record.trace_id, record.parent_id, record.trace_state, record.is_sampled) == ("", "", "", True)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a=1, b=2,\t,c@d=3", "a=1,b=2,c@d=3"),
        ("", ""),
        ("A=1", ""),
        ("a=1,b", ""),
        ("a=é", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        (",".join(f"k{n}={'v' * 250}" for n in range(9)), ",".join(f"k{n}={'v' * 250}" for n in range(2))),
    ],
)
def test_the_state_of_a_trace_is_kept_within_bounds(value: str, kept: str) -> None:
    assert noted(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate=value).trace_state == kept


@pytest.mark.parametrize(
    ("body", "headers", "end_user"),
    [
        ({"user": "a"}, {}, "a"),
        ({"safety_identifier": "b"}, {}, "b"),
        ({"metadata": {"user_id": "c"}}, {}, "c"),
        ({"user": "a", "safety_identifier": "b", "metadata": {"user_id": "c"}}, {}, "a"),
        ({"user": "a"}, {"x_litellm_end_user_id": "d"}, "d"),
        ({"user": "", "safety_identifier": "b"}, {"x_litellm_end_user_id": " "}, "b"),
        ({"user": None, "metadata": None}, {}, ""),
        ({"user": 7, "metadata": ["user_id"]}, {}, ""),
        ({"user": "é" * 400}, {}, "é" * 255),
        ({"user": "a\nb\0"}, {}, "a\ufffdb\ufffd"),
    ],
)
def test_the_end_user_is_taken_from_where_clients_state_it(body: Any, headers: dict[str, str], end_user: str) -> None:
    assert noted(body, **headers).end_user == end_user


@pytest.mark.parametrize(
    ("body", "headers", "tags"),
    [
        ({}, {"x_litellm_tags": "a,b"}, "a,b"),
        ({}, {"x_litellm_tags": " a , ,b,a"}, "a,b"),
        ({"metadata": {"tags": ["c", "d,e", 7, ""]}}, {}, "c,d e"),
        ({"metadata": {"tags": ["c"]}}, {"x_litellm_tags": "a"}, "a"),
        ({"metadata": {"tags": "c"}}, {}, ""),
        (
            {},
            {"x_litellm_tags": ",".join(f"{n:03}" * 30 for n in range(9))},
            ",".join((f"{n:03}" * 30)[:64] for n in range(3)),
        ),
    ],
)
def test_tags_are_taken_as_many_as_fit(body: Any, headers: dict[str, str], tags: str) -> None:
    assert noted(body, **headers).tags == tags


def test_the_session_is_taken_from_head_or_body() -> None:
    assert noted(x_session_id="s").session == "s"
    assert noted({"metadata": {"session_id": "t"}}).session == "t"
    assert noted({"metadata": {"session_id": "t"}}, x_litellm_session_id="u").session == "u"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["user_id", "tags", "session_id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["user", "safety_identifier", "metadata"]), JSON),
    st.dictionaries(st.sampled_from(sorted(caller.HEADERS)), st.binary(max_size=600)),
)
def test_whatever_is_sent_ends_as_short_printable_texts(body: Any, headers: dict[bytes, bytes]) -> None:
    record = AccessRecord("a-1", 1.0, "chat/completions")
    caller.note_headers(record, headers)
    caller.note_body(record, caller.of_body(body))
    for text in (record.end_user, record.session, record.tags):
        assert len(text) <= caller.MAX_TEXT
        assert not text or text.isprintable()
    assert len(record.trace_state) <= 512
    assert record.trace_state.isascii()
