"""GET /events and /events/{id}: filters, pages, refusals. The stream is in test_event_stream.py."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from models_app.domain.events import EventName
from models_app.models import Event
from models_app.services.events import events
from tests.api.conftest import Api

JOB = uuid.UUID(int=7)


def publish(subject: str, name: EventName = EventName.MODEL_LOADED, **fields: Any) -> Event:
    return events.publish(name=name, subject=subject, **{"actor": "test"} | fields)


@pytest.fixture
def three(admin: Api) -> list[Event]:
    """Three events, in addition to those of the API key."""
    return [
        publish("a", job_id=JOB),
        publish("b", EventName.MODEL_UNLOADED, actor="somebody"),
        publish("a", EventName.MODEL_UNLOADED),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("subject=a", [2, 0]),
        ("name=model-unloaded", [2, 1]),
        ("name=model-unloaded&name=model-loaded", [2, 1, 0]),
        ("actor=somebody", [1]),
        (f"job={JOB}", [0]),
        ("subject=a&name=model-unloaded", [2]),
        ("subject=nothing", []),
    ],
)
def test_filters_are_combined(admin: Api, three: list[Event], query: str, found: list[int]) -> None:
    answer = admin.get(f"/events?{query}").json()
    assert [one["id"] for one in answer["events"]] == [three[number].pk for number in found]
    assert answer["next"] is None


def test_times_bound_what_is_listed(admin: Api, three: list[Event]) -> None:
    middle = three[1].created_at
    Event.objects.filter(pk__lt=three[1].pk).update(created_at=middle - timedelta(hours=1))
    Event.objects.filter(pk=three[2].pk).update(created_at=middle + timedelta(hours=1))
    text = middle.isoformat().replace("+00:00", "Z")
    since = admin.get(f"/events?since={text}").json()["events"]
    until = admin.get(f"/events?until={text}&actor=test&subject=a").json()["events"]
    assert [one["id"] for one in since] == [three[2].pk, three[1].pk]
    assert [one["id"] for one in until] == [three[0].pk]


def test_only_what_is_newer_than_an_event(admin: Api, three: list[Event]) -> None:
    answer = admin.get(f"/events?last_event_id={three[0].pk}").json()["events"]
    assert [one["id"] for one in answer] == [three[2].pk, three[1].pk]


def test_pages_follow_each_other(admin: Api, three: list[Event]) -> None:
    first = admin.get("/events?limit=2&actor=test&subject=a").json()
    assert first["next"] is None
    seen, path = [], "/events?limit=1"
    while path:
        page = admin.get(path).json()
        seen += [one["id"] for one in page["events"]]
        path = page["next"] and page["next"].partition("/api/v1")[2]
    assert seen == list(Event.objects.order_by("-pk").values_list("pk", flat=True))


def test_one_event_is_shown_whole(admin: Api) -> None:
    event = publish("a", cause="requested", before="x", after={"y": 1}, job_id=JOB, data={"z": []})
    answer = admin.get(f"/events/{event.pk}").json()
    assert answer.pop("created_at").endswith("Z")
    assert answer == {
        "id": event.pk,
        "name": "model-loaded",
        "subject": "a",
        "message": "",
        "actor": "test",
        "cause": "requested",
        "before": "x",
        "after": {"y": 1},
        "job_id": str(JOB),
        "data": {"z": []},
    }


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/events/999999", 404, "event_not_found"),
        ("/events/99999999999999999999", 404, "not_found"),
        ("/events?name=nothing", 400, "invalid_request"),
        ("/events?job=x", 400, "invalid_request"),
        ("/events?since=yesterday", 400, "invalid_request"),
        ("/events?last_event_id=x", 400, "invalid_request"),
        ("/events?subject=" + "x" * 256, 400, "invalid_request"),
        ("/events?subject=%00", 400, "invalid_request"),
        ("/events?before=x", 400, "invalid_cursor"),
        ("/events?limit=0", 400, "invalid_request"),
        ("/events?colour=red", 400, "unknown_parameter"),
        ("/events?format=event-stream", 400, "unknown_parameter"),
    ],
)
def test_what_cannot_be_is_refused(admin: Api, path: str, status: int, code: str) -> None:
    answer = admin.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_no_other_operation_streams(admin: Api) -> None:
    answer = admin.get("/models", Accept="text/event-stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (406, "not_acceptable")
    assert answer["Content-Type"] == "application/json"


def test_a_process_that_does_not_stream_says_so(admin: Api) -> None:
    answer = admin.get("/events", Accept="text/event-stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
