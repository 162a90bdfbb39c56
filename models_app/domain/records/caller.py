"""What a client states about a request beside its body: end user, session, tags and trace, in the names of the field.

All of it is a client's text: bounded, and without control characters. It changes no answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models_app.domain.records.access import AccessRecord

MAX_TEXT = 255
MAX_TAG = 64

# W3C Trace Context: version, trace id, parent id, flags. A later version can have more fields.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_STATE_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")
# The standard's own bound, and the length that every server must pass on.
_STATE_MEMBERS = 32
_STATE_LENGTH = 512

# Of a request's head. The first that is not empty applies.
_END_USER_HEADERS = (b"x-litellm-end-user-id",)
_SESSION_HEADERS = (b"x-session-id", b"x-litellm-session-id")
TAGS_HEADER = b"x-litellm-tags"
HEADERS = frozenset({*_END_USER_HEADERS, *_SESSION_HEADERS, TAGS_HEADER, b"traceparent", b"tracestate"})


@dataclass(frozen=True, slots=True)
class Stated:
    """The texts of a body; '' is "not stated"."""

    end_user: str = ""
    session: str = ""
    tags: str = ""


NOTHING_STATED = Stated()


def note_headers(record: AccessRecord, headers: Mapping[bytes, bytes]) -> None:
    """Writes what the head states. An invalid value is ignored, as the standard of traces wants it."""
    if HEADERS.isdisjoint(headers):
        return
    record.end_user = _first(headers, _END_USER_HEADERS)
    record.session = _first(headers, _SESSION_HEADERS)
    record.tags = joined_tags(_decoded(headers.get(TAGS_HEADER, b"")).split(","))
    trace = _TRACEPARENT.fullmatch(_decoded(headers.get(b"traceparent", b"")).strip())
    if trace is not None and not (trace[1] == "00" and trace[5]):
        record.trace_id, record.parent_id = trace[2], trace[3]
        record.is_sampled = bool(int(trace[4], 16) & _SAMPLED)
        record.trace_state = bounded_state(_decoded(headers.get(b"tracestate", b"")))


def of_body(body: Mapping[str, Any]) -> Stated:
    """What the body states, by `user`, `safety_identifier` and the `metadata` of Anthropic's and LiteLLM's clients."""
    metadata = body.get("metadata")
    about: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    users = (body.get("user"), body.get("safety_identifier"), about.get("user_id"))
    tags = about.get("tags")
    return Stated(
        end_user=next((text for value in users if (text := _text(value))), ""),
        session=_text(about.get("session_id")),
        tags=joined_tags(tags) if isinstance(tags, list) else "",
    )


def note_body(record: AccessRecord, stated: Stated) -> None:
    """Writes what the body states and the head does not."""
    record.end_user = record.end_user or stated.end_user
    record.session = record.session or stated.session
    record.tags = record.tags or stated.tags


def joined_tags(tags: list[Any]) -> str:
    """`a,b`: each once, as many as fit."""
    found = dict.fromkeys(text for tag in tags if (text := _text(tag)[:MAX_TAG].replace(",", " ").strip()))
    joined = ""
    for tag in found:
        more = f"{joined},{tag}" if joined else tag
        if len(more) > MAX_TEXT:
            break
        joined = more
    return joined


def bounded_state(state: str) -> str:
    """The valid members of a `tracestate`, as many of the first as fit; '' if one is invalid."""
    members = [member for part in state.split(",") if (member := part.strip())]
    if len(members) > _STATE_MEMBERS or not all(_STATE_MEMBER.fullmatch(member) for member in members):
        return ""
    while len(",".join(members)) > _STATE_LENGTH:
        members.pop()
    return ",".join(members)


def _first(headers: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> str:
    return next((text for name in names if (text := _text(_decoded(headers.get(name, b""))))), "")


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _text(value: object) -> str:
    """The value as one short line; '' for anything but a text."""
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "\ufffd" for char in value[:MAX_TEXT].strip())
