"""Webhooks over the API: create, read without the secret, change, test, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain.events import EventName
from models_app.models import AuditEntry, Event, IdempotencyKey, Webhook, WebhookDelivery
from models_app.services.coordination import secrets
from models_app.services.events import events, webhooks
from tests.api.conftest import Api
from tests.fakes.receiver import Receiver

HOOK = {"url": "https://hooks.example.com/noa", "events": ["model-loaded"]}
SECRET = "0123456789abcdef"


def make(admin: Api, **fields: Any) -> dict[str, Any]:
    answer = admin.post("/webhooks", HOOK | fields)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    assert answer["Location"] == f"/api/v1/webhooks/{made['id']}"
    return made


def test_a_secret_that_is_made_here_is_shown_once(admin: Api) -> None:
    made = make(admin)
    assert secrets.unseal(Webhook.objects.get().secret) == made["secret"]
    shown = [admin.get(f"/webhooks/{made['id']}"), admin.get("/webhooks")]
    assert all(made["secret"] not in answer.content.decode() for answer in shown)
    assert "secret" not in shown[0].json()
    assert shown[1].json()["webhooks"] == [shown[0].json()]


def test_a_secret_that_was_given_is_not_shown(admin: Api) -> None:
    made = make(admin, secret=SECRET)
    assert made["secret"] is None
    assert secrets.unseal(Webhook.objects.get().secret) == SECRET
    admin.patch(f"/webhooks/{made['id']}", {"secret": SECRET[::-1]})
    assert secrets.unseal(Webhook.objects.get().secret) == SECRET[::-1]


def test_only_what_is_named_is_changed(admin: Api) -> None:
    made = make(admin, description="builds", allow_private_addresses=True)
    changed = admin.patch(f"/webhooks/{made['id']}", {"events": [], "enabled": False}).json()
    del made["secret"], made["updated_at"], changed["updated_at"]
    assert changed == made | {"events": [], "enabled": False}


def test_deleting_it_deletes_what_waits(admin: Api) -> None:
    made = make(admin)
    events.publish(name=EventName.MODEL_LOADED)
    assert WebhookDelivery.objects.count() == 1
    assert admin.delete(f"/webhooks/{made['id']}").status_code == 204
    assert not WebhookDelivery.objects.exists()
    assert admin.get(f"/webhooks/{made['id']}").status_code == 404


def test_deliveries_are_listed_newest_first(admin: Api) -> None:
    made = make(admin)
    ids = [events.publish(name=EventName.MODEL_LOADED).pk for _ in range(3)]
    page = admin.get(f"/webhooks/{made['id']}/deliveries?limit=2").json()
    assert [one["event_id"] for one in page["deliveries"]] == [ids[2], ids[1]]
    assert page["deliveries"][0] | {"id": 0, "created_at": "", "next_attempt_at": ""} == {
        "id": 0,
        "event_id": ids[2],
        "event": "model-loaded",
        "state": "pending",
        "attempts": 0,
        "next_attempt_at": "",
        "status": None,
        "error": None,
        "delivered_at": None,
        "created_at": "",
    }
    rest = admin.get(page["next"].partition("/api/v1")[2]).json()
    assert [one["event_id"] for one in rest["deliveries"]] == [ids[0]]


def test_a_test_tells_how_it_went(admin: Api) -> None:
    with Receiver(script=[204, 500]) as receiver:
        made = make(admin, url=receiver.url, allow_private_addresses=True)
        first = admin.post(f"/webhooks/{made['id']}/test").json()
        second = admin.post(f"/webhooks/{made['id']}/test").json()
    gone = admin.post(f"/webhooks/{made['id']}/test").json()
    assert (first["delivered"], first["status"], first["error"]) == (True, 204, None)
    assert (second["delivered"], second["status"]) == (False, 500)
    assert (gone["delivered"], gone["status"]) == (False, None)
    assert gone["error"].startswith("The receiver could not be reached")


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"url": "http://127.0.0.1/"}, "address_not_allowed", "url"),
        ({"url": "http://169.254.169.254/", "allow_private_addresses": True}, "address_not_allowed", "url"),
        ({"url": "file:///etc/passwd"}, "invalid_url", "url"),
        ({"url": "https://user:word@example.com/"}, "invalid_url", "url"),
        ({"url": None}, "invalid_request", "url"),
        ({"events": ["nothing"]}, "invalid_request", None),
        ({"events": "model-loaded"}, "invalid_request", None),
        ({"secret": "short"}, "invalid_request", "secret"),
        ({"secret": "x" * 257}, "invalid_request", "secret"),
        ({"colour": "red"}, "unknown_field", "colour"),
        ({"failing_since": None}, "unknown_field", "failing_since"),
    ],
)
def test_bad_bodies_are_refused(admin: Api, change: dict[str, Any], code: str, param: str | None) -> None:
    made = make(admin)
    for answer in (
        admin.post("/webhooks", HOOK | change),
        admin.patch(f"/webhooks/{made['id']}", change),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, code)
        assert param in (None, error["param"])
        assert "x" * 20 not in answer.content.decode()
    assert Webhook.objects.get().url == HOOK["url"]


def test_there_is_an_end_to_how_many_there_are(admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    make(admin)
    answer = admin.post("/webhooks", HOOK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_webhooks")


@pytest.mark.parametrize("scope", ["infer", "read", "operate"])
def test_they_are_for_administrators(api: Callable[..., Api], admin: Api, scope: str) -> None:
    made, one = make(admin), api(scope)
    path = f"/webhooks/{made['id']}"
    answers = [
        one.get("/webhooks"),
        one.post("/webhooks", HOOK),
        one.get(path),
        one.patch(path, {}),
        one.delete(path),
        one.post(f"{path}/test"),
        one.get(f"{path}/deliveries"),
    ]
    assert {answer.status_code for answer in answers} == {403}


def test_a_secret_is_kept_nowhere_else(admin: Api) -> None:
    given = make(admin, secret=SECRET)
    made = admin.post("/webhooks", HOOK, **{"Idempotency-Key": "once"}).json()["secret"]
    admin.patch(f"/webhooks/{given['id']}", {"secret": SECRET[::-1]})
    stored = "".join(
        f"{row}"
        for table in (AuditEntry, IdempotencyKey, Event, Webhook)
        for row in table._default_manager.values_list()
    )
    assert "create_webhook" in stored
    assert [text for text in (SECRET, SECRET[::-1], made) if text in stored] == []
