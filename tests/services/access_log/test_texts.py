"""Texts are stored by rules only, truncated, redacted, and deleted in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.traffic import texts as domain
from models_app.domain.traffic.texts import CapturedText, TextRule
from models_app.models import AccessText, Route
from models_app.services.access_log import texts
from models_app.services.routes import routing

pytestmark = pytest.mark.django_db


def captured(**changes: Any) -> CapturedText:
    given: dict[str, Any] = {
        "request_id": "r1",
        "started_at": timezone.now().timestamp(),
        "key_id": "k",
        "route": "support",
        "model_key": "openai:x",
        "days": 7,
        "prompt": b"Hello \xff\x00",
        "answer": b"Good day",
        "is_cut": False,
    }
    return CapturedText(**given | changes)


def shouted(text: str) -> str:
    return text.upper()


def broken(text: str) -> str:
    raise ValueError(text)


@pytest.fixture
def route() -> Route:
    return Route.objects.create(name="support")


@pytest.mark.parametrize(
    ("rules", "chance", "days"),
    [
        ({}, 0.0, None),
        ({"key:k": TextRule(1.0, 10, 1)}, 0.999, 1),
        ({"route:r": TextRule(0.5, 10, 2)}, 0.499, 2),
        ({"route:r": TextRule(0.5, 10, 2)}, 0.5, None),
        ({"key:k": TextRule(0.1, 10, 1), "route:r": TextRule(1.0, 10, 2)}, 0.3, 2),
        ({"key:k": TextRule(1.0, 10, 1), "route:r": TextRule(1.0, 10, 2)}, 0.3, 1),
        ({"key:other": TextRule(1.0, 10, 1), "route:": TextRule(1.0, 10, 1)}, 0.0, None),
    ],
)
def test_a_rule_decides(rules: dict[str, TextRule], chance: float, days: int | None) -> None:
    found = domain.chosen(rules, key_id="k", route="r", chance=chance)
    assert (found.days if found else None) == days


def test_a_rule_reaches_the_gateways_snapshot(route: Route) -> None:
    assert routing.snapshot().text_rules == {}
    rule = texts.set_rule(key_id=None, route="support", share=0.5, max_bytes=100, days=3, actor="t")
    assert routing.snapshot().text_rules == {"route:support": TextRule(0.5, 100, 3)}
    again = texts.set_rule(key_id=None, route="support", share=1, max_bytes=100, days=3, actor="t")
    assert again.pk == rule.pk
    before = routing.revision()
    texts.delete_rule(rule_id=rule.pk)
    assert routing.snapshot().text_rules == {}
    assert routing.revision() > before


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"max_bytes": 0}, {"days": 0}, {"key_id": "k"}, {"route": None}])
def test_a_rule_that_makes_no_sense_is_refused(route: Route, wrong: dict[str, Any]) -> None:
    wish = {"key_id": None, "route": "support", "share": 1.0, "max_bytes": 10, "days": 1} | wrong
    with pytest.raises(InvalidRequest):
        texts.set_rule(**wish, actor="t")


@pytest.mark.parametrize("name", [{"key_id": "no", "route": None}, {"key_id": None, "route": "no"}])
def test_a_rule_is_for_something_that_there_is(name: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        texts.set_rule(**name, share=1.0, max_bytes=10, days=1, actor="t")


def test_what_is_stored_can_be_stored_and_shows_no_key() -> None:
    key = "noa_" + "0" * 12 + "_" + "s" * 40
    texts.store([captured(answer=f"your key is {key}".encode())])
    row = AccessText.objects.get()
    assert row.prompt == "Hello \ufffd\ufffd"
    assert row.answer == "your key is (left out)"
    assert row.delete_at - row.started_at == timedelta(days=7)


def test_the_operators_own_function_has_the_last_word(settings: Any) -> None:
    settings.NOA_TEXT_REDACTION = f"{__name__}.shouted"
    texts.store([captured()])
    assert AccessText.objects.get().answer == "GOOD DAY"
    settings.NOA_TEXT_REDACTION = f"{__name__}.broken"
    with pytest.raises(ValueError):
        texts.store([captured(request_id="r2")])
    assert AccessText.objects.count() == 1


def test_texts_go_when_their_day_has_come() -> None:
    texts.store([captured(), captured(request_id="old", started_at=1_700_000_000.0)])
    assert texts.delete_old() == 1
    assert AccessText.objects.get().request_id == "r1"
