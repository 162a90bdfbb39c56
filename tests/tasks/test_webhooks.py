"""The sender of a worker: due deliveries are sent automatically, and a receiver that hangs delays no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.models import Webhook, WebhookDelivery
from models_app.services.events import deliveries, events, webhooks
from models_app.tasks.webhooks import Sender
from tests.fakes.receiver import HANG, Receiver
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
def sender() -> Iterator[Sender]:
    one = Sender()
    one.start()
    yield one
    one.stop()


def hook(receiver: Receiver) -> Webhook:
    return webhooks.create(url=receiver.url, allow_private_addresses=True, actor="test")[0]


def happen(count: int = 1) -> list[int]:
    return [events.publish(name=EventName.MODEL_LOADED).pk for _ in range(count)]


def delivered(webhook: Webhook) -> list[int]:
    rows = webhook.deliveries.filter(state="delivered").order_by("delivered_at")
    return list(rows.values_list("event_id", flat=True))


def test_what_happens_is_sent_in_its_order(receiver: Receiver, sender: Sender) -> None:
    one = hook(receiver)
    ids = happen(20)
    until(lambda: delivered(one) == ids, "twenty events had arrived in their order")
    assert len(receiver.received) == 20


def test_what_waited_before_the_start_is_sent(receiver: Receiver) -> None:
    one = hook(receiver)
    ids = happen(2)
    sender = Sender()
    sender.start()
    until(lambda: delivered(one) == ids, "both events had arrived")
    sender.stop()


def test_a_retry_is_sent_when_its_time_comes(receiver: Receiver, sender: Sender) -> None:
    receiver.script = [500]
    one = hook(receiver)
    happen()
    until(lambda: one.deliveries.filter(attempts=1, status=500).exists(), "it had failed once")
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    until(lambda: len(delivered(one)) == 1, "it had been sent again")


def test_a_receiver_that_hangs_delays_nobody_else(
    receiver: Receiver, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_TOTAL_SECONDS", 2.0)
    with Receiver(script=[HANG]) as hanging:
        slow, fast = hook(hanging), hook(receiver)
        ids = happen(5)
        until(lambda: delivered(fast) == ids, "the other receiver had all of it")
        assert delivered(slow) == []
        until(lambda: len(delivered(slow)) == 4, "the hanging one had been given up once")


def test_it_can_be_stopped_and_started_again(receiver: Receiver) -> None:
    sender = Sender()
    for _ in range(3):
        sender.start()
        sender.start()
        sender.stop()
        sender.stop()
    one = hook(receiver)
    happen()
    assert delivered(one) == []
    sender.start()
    until(lambda: len(delivered(one)) == 1, "it was sent after the start")
    sender.stop()
