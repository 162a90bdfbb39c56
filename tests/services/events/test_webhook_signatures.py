"""Signatures of webhooks, verified by the official library of Standard Webhooks."""

from __future__ import annotations

import base64
from collections.abc import Callable
from time import time
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import webhooks as rules
from models_app.models import Webhook
from models_app.services.coordination import secrets
from models_app.services.events import deliveries, webhooks
from tests.fakes.receiver import Received, Receiver
from tests.services.events.hooks import SECRET, attempt, happen, hook, let_time_pass, send_all, verified

pytestmark = pytest.mark.django_db


def verify(secret: str | bytes, got: Received) -> Any:
    """Verify with the official library. Raises WebhookVerificationError."""
    return Verifier(secret).verify(got.body, got.headers)


def test_the_official_library_verifies_what_is_sent(receiver: Receiver) -> None:
    made, secret = webhooks.create(url=receiver.url, actor="test", allow_private_addresses=True)
    assert secret is not None and secret.startswith("whsec_")
    event = happen()
    send_all()
    deliveries.send_test(webhook=made)
    first, tested = receiver.received
    assert verify(secret, first)["id"] == event.pk
    assert verify(secret, tested)["name"] == "test"
    assert first.headers["webhook-id"] == f"{made.pk}-{event.pk}"
    assert verified(first, secret), "the deprecated signature's key is the whole secret"


def test_an_older_secret_is_a_key_as_it_is(receiver: Receiver) -> None:
    hook(receiver.url)
    happen()
    send_all()
    (got,) = receiver.received
    assert verify(SECRET.encode(), got)["name"] == "model-loaded"
    assert verify("whsec_" + base64.b64encode(SECRET.encode()).decode(), got)["name"] == "model-loaded"


def test_an_older_secret_that_only_looks_like_a_new_one_goes_on_working(receiver: Receiver) -> None:
    secret = "whsec_of the receiver's own"
    webhook = hook(receiver.url)
    Webhook.objects.update(secret=secrets.seal(secret))
    assert attempt(webhook).state == "delivered"
    (got,) = receiver.received
    assert verified(got, secret)
    assert verify(secret.encode(), got)["name"] == "model-loaded"


@pytest.mark.parametrize(
    "change",
    [
        lambda got: Received(got.headers | {"webhook-id": "another"}, got.body),
        lambda got: Received(
            got.headers | {"webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)}, got.body
        ),
        lambda got: Received(got.headers | {"webhook-signature": "v1,AAAA"}, got.body),
        lambda got: Received(
            got.headers | {"webhook-signature": "v2" + got.headers["webhook-signature"][2:]}, got.body
        ),
        lambda got: Received(got.headers, got.body.replace(b"It", b"it")),
    ],
    ids=["id", "timestamp", "signature", "version", "body"],
)
def test_the_official_library_refuses_what_was_changed(
    receiver: Receiver, change: Callable[[Received], Received]
) -> None:
    hook(receiver.url)
    happen()
    send_all()
    (got,) = receiver.received
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify(SECRET.encode(), change(got))
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify(b"another secret", got)


@pytest.mark.parametrize(("age", "reason"), [(301, "too old"), (-301, "too new")])
def test_the_official_library_refuses_a_delivery_from_another_time(age: int, reason: str) -> None:
    body, timestamp = b"{}", int(time()) - age
    headers = rules.headers(secret=SECRET, identifier="a-1", timestamp=timestamp, body=body)
    with pytest.raises(WebhookVerificationError, match=reason):
        verify(SECRET.encode(), Received(headers, body))


def test_a_retry_has_the_same_id_and_its_own_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.script = [500]
    hook(receiver.url)
    happen()
    happen()
    now = int(time())
    for number in range(2):
        monkeypatch.setattr(deliveries, "time", lambda number=number: now + 10 * number + 0.9)
        let_time_pass()
        send_all()
    # The first two are sent at the same time.
    *both, retry = receiver.received
    assert len({got.headers["webhook-id"] for got in both}) == 2
    assert retry.headers["webhook-id"] in {got.headers["webhook-id"] for got in both}
    assert [int(got.headers["webhook-timestamp"]) - now for got in (*both, retry)] == [0, 0, 10]
    for got in receiver.received:
        verify(SECRET.encode(), got)


@pytest.mark.parametrize("rest", ["", "not base64 at all!", "c2hvcnQga2V5IQ==", "é" * 40, "QUFB" * 30])
def test_a_new_secret_that_only_looks_like_a_key_is_refused(rest: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        hook("https://example.com/", secret="whsec_" + rest.ljust(10))
    assert rest not in refused.value.message or not rest
    webhook = hook("https://example.com/")
    with pytest.raises(InvalidRequest):
        webhooks.update(webhook_id=webhook.pk, changes={"secret": "whsec_" + rest.ljust(10)})
