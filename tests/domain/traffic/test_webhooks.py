"""The signature of an event, and when a failed delivery is attempted again."""

from __future__ import annotations

import base64

import pytest

from models_app.domain.traffic import webhooks
from models_app.domain.traffic.webhooks import MAX_ATTEMPTS, wait_seconds

# The example of the specification's reference implementations.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EXAMPLE = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_it_signs_as_the_specification_does() -> None:
    body = b'{"test": 2432232314}'
    identifier = EXAMPLE["webhook-id"]
    assert webhooks.headers(secret=SECRET, identifier=identifier, timestamp=1614265330, body=body) == EXAMPLE


def test_the_deprecated_signature_is_that_of_the_first_version() -> None:
    # printf '7.{}' | openssl dgst -sha256 -hmac whsec_x
    digest = "4a2494dccad6d2566e547b66c2bac1c28f9617509d0f1254ccacd300cb89f5b2"
    assert webhooks.legacy_signature(secret="whsec_x", timestamp=7, body=b"{}") == f"sha256={digest}"


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_new_secret_holds_its_key(size: int) -> None:
    key = bytes(range(size))
    secret = webhooks.new_secret(key)
    assert secret == "whsec_" + base64.b64encode(key).decode()
    assert webhooks.key_of(secret) == key
    assert not webhooks.is_malformed(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "plain",
        "",
        "whsec_",
        "whsec_not base64",
        "whsec_ä",
        "whsec_YQ",  # without its padding
        "whsec_Y-_Q",  # the other alphabet
        "whsec_Y Q==",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ],
)
def test_any_other_secret_is_its_own_key(secret: str) -> None:
    assert webhooks.key_of(secret) == secret.encode()


@pytest.mark.parametrize(
    ("secret", "malformed"),
    [
        ("plain", False),
        ("", False),
        ("YQ==", False),
        ("whsec_", True),
        ("whsec_not base64", True),
        ("whsec_ä", True),
        (webhooks.new_secret(bytes(23)), True),
        (webhooks.new_secret(bytes(24)), False),
        (webhooks.new_secret(bytes(64)), False),
        (webhooks.new_secret(bytes(65)), True),
    ],
)
def test_a_secret_of_the_new_form_has_24_to_64_bytes(secret: str, malformed: bool) -> None:
    assert webhooks.is_malformed(secret) is malformed


def test_the_waits_grow_threefold_up_to_an_hour_and_end_after_eight_attempts() -> None:
    waits = [wait_seconds(attempts=attempts, chance=0.5) for attempts in range(1, MAX_ATTEMPTS)]
    assert waits == pytest.approx([10, 30, 90, 270, 810, 2430, 3600])
    assert wait_seconds(attempts=MAX_ATTEMPTS, chance=0.5) is None
    assert wait_seconds(attempts=MAX_ATTEMPTS + 1, chance=0.5) is None


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 8.0), (0.25, 9.0), (0.5, 10.0), (1.0, 12.0)])
def test_a_wait_is_spread_by_a_fifth(chance: float, seconds: float) -> None:
    assert wait_seconds(attempts=1, chance=chance) == pytest.approx(seconds)
