"""Names come from the headers of untrusted files: they are displayed, never executed."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from models_app.domain.events import EventName
from models_app.models import Route
from models_app.services.events import events
from tests.admin import addresses
from tests.admin.conftest import make_instance, make_job, make_log_row

ATTACK = "<script>alert('noa')</script><img src=x onerror=alert(1)>{{ 7|add:7 }}"


def test_markup_from_outside_is_shown_as_text_on_every_page(console: Client, make_model: Any) -> None:
    model = make_model(
        name=ATTACK,
        description=ATTACK,
        status="failed",
        failure_stage=ATTACK[:30],
        failure_reason=ATTACK,
        tags=[ATTACK],
        load_options={ATTACK: ATTACK},
    )
    instance = make_instance(model)
    instance.failure_reason, instance.options = ATTACK, {ATTACK: ATTACK}
    instance.save()
    Route.objects.create(name="current", target=model)
    step = {"name": ATTACK, "state": ATTACK, "seconds": 1.0, "detail": ATTACK}
    make_job(
        subject=model.key,
        state="failed",
        steps=[step],
        arguments={"options": {ATTACK: ATTACK}, "x": [ATTACK]},
        result={ATTACK: ATTACK, "list": [{"file": ATTACK}]},
        error_message=ATTACK,
        error_code="x",
        actor=ATTACK,
    )
    make_job(subject=ATTACK, state="running")
    events.publish(name=EventName.MODEL_LOADED, subject=ATTACK, message=ATTACK, data={"a": ATTACK})
    make_log_row(1, model_key=ATTACK)
    pages = [*addresses.lists_and_pages(), *addresses.dialogs(), reverse("admin:index")]
    shown = {page: console.get(page).content.decode() for page in pages if "/apikey/" not in page}
    for page, text in shown.items():
        assert "<script>alert(" not in text, page
        assert "<img src=x" not in text, page
        assert "14" not in text.partition("&lt;script&gt;")[2][:120].partition("onerror")[2], page
    assert sum("&lt;script&gt;alert(" in text for text in shown.values()) >= 8
