"""Webhooks: deliveries to a real receiver, their signatures, and their retries."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.errors import InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.traffic import webhooks as rules
from models_app.models import Event, Webhook, WebhookDelivery
from models_app.services.events import deliveries, events, webhooks
from tests import markdown
from tests.fakes.receiver import HANG, Receiver
from tests.services.events.hooks import SECRET, attempt, happen, hook, let_time_pass, send_all, verified

pytestmark = pytest.mark.django_db


def test_an_event_arrives_signed_and_as_the_api_shows_it(receiver: Receiver) -> None:
    hook(receiver.url)
    event = happen()
    send_all()
    (got,) = receiver.received
    assert verified(got)
    assert not verified(got, "another secret")
    assert got.body == events.to_json(event)
    assert orjson.loads(got.body)["subject"] == "llama.cpp:a"
    delivery = WebhookDelivery.objects.get()
    assert got.headers["X-NOA-Event"] == "model-loaded"
    assert got.headers["X-NOA-Delivery"] == str(delivery.pk)
    assert (delivery.state, delivery.status, delivery.attempts) == ("delivered", 204, 1)
    assert delivery.delivered_at is not None
    send_all()
    assert len(receiver.received) == 1


def test_only_what_was_asked_for_is_sent(receiver: Receiver) -> None:
    hook(receiver.url, "model-unloaded")
    hook(receiver.url, "model-unloaded", enabled=False)
    happen()
    wanted = happen(EventName.MODEL_UNLOADED)
    assert [delivery.event for delivery in WebhookDelivery.objects.all()] == [wanted]


def test_a_failure_is_tried_again_later(receiver: Receiver) -> None:
    receiver.script = [500]
    hook(receiver.url)
    happen()
    send_all()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.status, delivery.attempts) == ("pending", 500, 1)
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at > timezone.now() + timedelta(seconds=5)
    send_all()
    assert len(receiver.received) == 1, "it was sent before its time"
    let_time_pass()
    send_all()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 2)
    first, second = receiver.received
    assert first.headers["X-NOA-Delivery"] == second.headers["X-NOA-Delivery"]
    assert verified(second)


def test_after_the_last_attempt_it_has_failed_and_that_is_said_once(receiver: Receiver) -> None:
    receiver.script = [503] * 100
    webhook = hook(receiver.url, "model-loaded")
    happen()
    happen()
    for _ in range(rules.MAX_ATTEMPTS):
        let_time_pass()
        send_all()
    assert set(WebhookDelivery.objects.values_list("state", "attempts")) == {("failed", 8)}
    event = Event.objects.get(name="webhook-failing")
    assert event.subject == str(webhook.pk)
    assert event.cause == "The receiver answered with 503."
    webhook.refresh_from_db()
    assert webhook.failing_since is not None
    receiver.script.clear()
    happen()
    send_all()
    webhook.refresh_from_db()
    assert webhook.failing_since is None


def test_that_a_webhook_fails_is_told_to_the_others_only(receiver: Receiver) -> None:
    with Receiver(script=[500] * 100) as broken:
        failing, well = hook(broken.url), hook(receiver.url)
        happen()
        for _ in range(rules.MAX_ATTEMPTS + 3):
            let_time_pass()
            send_all()
        assert Event.objects.filter(name="webhook-failing").count() == 1
        assert failing.deliveries.count() == 1
        assert set(well.deliveries.values_list("event__name", "state")) == {
            ("model-loaded", "delivered"),
            ("webhook-failing", "delivered"),
        }


def test_a_receiver_that_hangs_is_given_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "_TOTAL_SECONDS", 0.2)
    receiver.script = [HANG]
    delivery = attempt(hook(receiver.url))
    assert delivery.state == "pending"
    assert delivery.error == "The receiver did not answer within 0.2 seconds."


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.script = [302]
    delivery = attempt(hook(receiver.url))
    assert (delivery.state, delivery.status) == ("pending", 302)
    assert "redirect" in delivery.error
    assert len(receiver.received) == 1


def test_a_receiver_that_is_gone_is_named(receiver: Receiver) -> None:
    with Receiver() as gone:
        url = gone.url
    delivery = attempt(hook(url))
    assert delivery.state == "pending"
    assert delivery.error.startswith("The receiver could not be reached")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_private_address_is_not_connected_to(receiver: Receiver, name: str) -> None:
    webhook = hook(receiver.url.replace("127.0.0.1", name))
    Webhook.objects.update(allow_private_addresses=False)
    webhook.refresh_from_db()
    delivery = attempt(webhook)
    assert "an address that NOA does not connect to" in delivery.error
    assert receiver.received == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/hook",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "ftp://example.com/",
        "http://user:word@example.com/",
        "http://example.com/?token=1",
        "hook",
    ],
)
def test_addresses_are_checked_when_they_are_given(url: str) -> None:
    with pytest.raises(InvalidRequest):
        hook(url, allow_private_addresses=False)
    webhook = hook("https://example.com/hook", allow_private_addresses=False)
    with pytest.raises(InvalidRequest):
        webhooks.update(webhook_id=webhook.pk, changes={"url": url})


def test_what_was_allowed_cannot_be_forbidden_and_kept(receiver: Receiver) -> None:
    webhook = hook(receiver.url)
    with pytest.raises(InvalidRequest):
        webhooks.update(webhook_id=webhook.pk, changes={"allow_private_addresses": False})


@pytest.mark.parametrize("secret", ["", "too short", "x" * 257])
def test_a_secret_that_is_too_short_or_too_long_is_refused(secret: str) -> None:
    with pytest.raises(InvalidRequest):
        hook("https://example.com/", secret=secret)


def test_secrets_are_sealed(receiver: Receiver) -> None:
    assert SECRET not in hook(receiver.url).secret
    _, made = webhooks.create(url="https://example.com/", actor="test")
    assert made is not None
    assert len(made) >= 32


def test_a_test_is_sent_now_and_stored_nowhere(receiver: Receiver) -> None:
    outcome = deliveries.send_test(webhook=hook(receiver.url, enabled=False))
    assert (outcome.delivered, outcome.status) == (True, 204)
    (got,) = receiver.received
    assert verified(got)
    assert orjson.loads(got.body)["name"] == got.headers["X-NOA-Event"] == "test"
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_that_see_the_same_delivery_send_it_once(receiver: Receiver) -> None:
    webhook = hook(receiver.url)
    for _ in range(10):
        happen()
    begin = threading.Barrier(4)

    def work() -> None:
        try:
            begin.wait()
            deliveries.send_due(webhook_id=webhook.pk)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sent = [got.headers["X-NOA-Delivery"] for got in receiver.received]
    assert sorted(sent) == sorted(set(sent))
    assert len(sent) == 10


def test_what_a_dead_worker_had_is_sent_by_another(receiver: Receiver) -> None:
    webhook = hook(receiver.url)
    happen()
    delivery = WebhookDelivery.objects.get()
    assert deliveries._claim(delivery)
    assert deliveries.send_due(webhook_id=webhook.pk) == 0
    let_time_pass()  # the lease has ended
    assert deliveries.send_due(webhook_id=webhook.pk) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 2)


def test_a_webhook_that_is_switched_off_keeps_what_waits(receiver: Receiver) -> None:
    webhook = hook(receiver.url)
    happen()
    webhooks.update(webhook_id=webhook.pk, changes={"enabled": False})
    happen()
    send_all()
    assert receiver.received == []
    webhooks.update(webhook_id=webhook.pk, changes={"enabled": True})
    send_all()
    assert len(receiver.received) == 1


def test_waits_grow_up_to_an_hour_and_end() -> None:
    waits = [rules.wait_seconds(attempts=number, chance=0.5) for number in range(1, 9)]
    assert waits == [10, 30, 90, 270, 810, 2430, 3600, None]
    assert rules.wait_seconds(attempts=1, chance=0.0) == 8
    assert rules.wait_seconds(attempts=1, chance=1.0) == pytest.approx(12)


def test_the_documented_check_of_a_signature_is_right() -> None:
    """The program in docs/events.md accepts NOA's signatures, and no others."""
    block = next(block for block in markdown.page("docs/events.md").blocks("python") if "hmac" in block.text)
    names: dict[str, Any] = {}
    exec(block.text, names)
    body, timestamp = b'{"id":1}', 1_795_514_400
    check = names["verified"]
    for secret in (SECRET, rules.new_secret(bytes(range(32)))):
        signed = rules.headers(secret=secret, identifier="a-1", timestamp=timestamp, body=body)
        assert check(secret, signed, body, timestamp + 1.0)
        assert check(
            secret, signed | {"webhook-signature": "v1,b v1a,c " + signed["webhook-signature"]}, body, timestamp
        )
        assert not check("x" + secret, signed, body, timestamp + 1.0)
        assert not check(secret, signed, body + b" ", timestamp + 1.0)
        assert not check(secret, signed | {"webhook-id": "a-2"}, body, timestamp + 1.0)
        assert not check(secret, signed, body, timestamp + 1000.0)
    assert check(names["secret"], names["headers"], names["body"], timestamp)
