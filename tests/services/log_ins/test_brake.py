"""Failed log-ins are counted for all processes, in a bounded number of rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.utils import timezone

from models_app.domain.errors import RateLimited
from models_app.domain.events import EventName
from models_app.models import AuditEntry, Event, LogInTally
from models_app.services.log_ins import brake

pytestmark = pytest.mark.django_db


def try_log_in(username: str = "admin", address: str = "192.0.2.1") -> bool:
    """A wrong password; returns whether it was checked."""
    try:
        attempt = brake.begin(username=username, address=address)
    except RateLimited as error:
        assert error.retry_after and error.code == "too_many_failed_log_ins"
        return False
    brake.fail(attempt)
    return True


def log_in(username: str = "admin", address: str = "192.0.2.1") -> None:
    brake.succeed(brake.begin(username=username, address=address))


def pass_time(seconds: float) -> None:
    LogInTally.objects.update(last_at=F("last_at") - timedelta(seconds=seconds))


def test_five_wrong_passwords_are_checked_then_the_wait_grows() -> None:
    assert [try_log_in() for _ in range(12)] == [True] * 5 + [False] * 7
    pass_time(59)
    assert not try_log_in()
    pass_time(2)
    assert [try_log_in(), try_log_in()] == [True, False]
    pass_time(61)
    assert not try_log_in()
    pass_time(60)
    assert try_log_in()
    pass_time(15 * 60)
    assert [try_log_in() for _ in range(6)] == [True] * 5 + [False]


def test_the_right_password_is_refused_during_the_wait_too() -> None:
    for _ in range(5):
        try_log_in()
    with pytest.raises(RateLimited):
        log_in()


def test_a_log_in_forgets_earlier_failures() -> None:
    for _ in range(10):
        assert [try_log_in() for _ in range(4)] == [True] * 4
        log_in()


def test_other_addresses_and_other_users_can_still_log_in() -> None:
    for _ in range(12):
        try_log_in()
    log_in(address="192.0.2.2")
    log_in(username="other")


def test_an_address_that_tries_many_users_is_refused() -> None:
    checked = sum(try_log_in(username=f"user{number}") for number in range(100))
    assert checked == 20
    log_in(address="192.0.2.2")


def test_many_addresses_slow_down_one_user_only_at_unknown_addresses() -> None:
    log_in(address="198.51.100.1")
    began = monotonic()
    checked = sum(try_log_in(address=f"192.0.2.{number % 250}") for number in range(500))
    # One more for each second that the test takes.
    assert 50 <= checked <= 52 + (monotonic() - began)
    log_in(address="198.51.100.1")
    pass_time(31)
    log_in(address="198.51.100.2")


@pytest.mark.parametrize("name", ["ADMIN", "Admin", "ａｄｍｉｎ"])
def test_spellings_of_a_name_count_together(name: str) -> None:
    for _ in range(5):
        try_log_in()
    assert not try_log_in(username=name)


@pytest.mark.django_db(transaction=True)
def test_attempts_side_by_side_are_all_counted() -> None:
    def one(_: int) -> bool:
        try:
            return try_log_in()
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(one, range(40))) == 5


def test_an_attempt_that_was_not_checked_does_not_count() -> None:
    for _ in range(20):
        brake.withdraw(brake.begin(username="admin", address="192.0.2.1"))
    assert try_log_in()


def test_what_was_typed_is_not_stored_unless_it_is_a_user() -> None:
    User.objects.create_user("admin")
    try_log_in(username="hunter2")
    try_log_in()
    assert {entry.subject for entry in AuditEntry.objects.all()} == {"", "admin"}
    assert not LogInTally.objects.filter(subject__contains="hunter2").exists()


def test_failures_and_log_ins_are_in_the_audit_log() -> None:
    User.objects.create_user("admin")
    try_log_in()
    log_in()
    found = list(AuditEntry.objects.order_by("pk").values_list("action", "actor", "subject", "status", "client"))
    assert found == [
        ("log_in", "", "admin", 401, "192.0.2.1"),
        ("log_in", "user:admin", "admin", 200, "192.0.2.1"),
    ]


def test_an_event_is_published_once_when_log_ins_are_refused() -> None:
    for _ in range(30):
        try_log_in()
    (event,) = Event.objects.filter(name=EventName.LOG_INS_BLOCKED)
    assert event.data == {"by": "user and address", "address": "192.0.2.1"}


def test_the_number_of_rows_is_bounded() -> None:
    with mock.patch.object(brake, "MAX_ROWS", 60), mock.patch.object(brake, "_DELETED_AT_ONCE", 10):
        log_in(address="198.51.100.1")
        for number in range(300):
            try_log_in(username=f"user{number}", address=f"10.0.{number // 250}.{number % 250}")
        assert LogInTally.objects.count() <= 63
        assert LogInTally.objects.filter(known_at__isnull=False).count() == 1


def test_old_rows_are_deleted_but_known_addresses_stay() -> None:
    try_log_in()
    log_in(address="198.51.100.1")
    pass_time(16 * 60)
    brake.delete_old()
    (known,) = LogInTally.objects.all()
    assert known.known_at is not None
    LogInTally.objects.update(known_at=timezone.now() - timedelta(days=91))
    brake.delete_old()
    assert not LogInTally.objects.exists()
