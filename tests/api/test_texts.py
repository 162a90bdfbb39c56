"""Text rules and stored texts, for administrators."""

from __future__ import annotations

import pytest
from django.utils import timezone

from models_app.domain.traffic.texts import CapturedText
from models_app.models import Route
from models_app.services.access_log import texts
from models_app.services.api_keys import keys
from tests.api.conftest import Api


@pytest.fixture
def route(db: None) -> Route:
    return Route.objects.create(name="support")


def test_rules_are_made_shown_and_deleted(admin: Api, route: Route) -> None:
    key, _ = keys.create(name="app", scopes=["infer"], actor="t")
    made = admin.post("/text-rules", {"key_id": key.key_id, "share": 0.25})
    assert made.status_code == 200, made.content
    assert made.json()["subject"] == f"key:{key.key_id}"
    assert admin.get("/text-rules").json()["rules"] == [made.json()]
    assert admin.delete(f"/text-rules/{made.json()['id']}").status_code == 204
    assert admin.delete(f"/text-rules/{2**70}").status_code == 404
    assert admin.post("/text-rules", {"route": "support", "key_id": "k"}).status_code == 400


def test_the_texts_of_a_request_are_shown_where_there_are_any(admin: Api) -> None:
    now = timezone.now().timestamp()
    texts.store([CapturedText("r1", now, "k", "", "openai:x", 7, b"Hello", b"Good day", False)])
    assert admin.get("/access-log/r1/texts").json()["answer"] == "Good day"
    assert admin.get("/access-log/no/texts").status_code == 404
