"""Few passwords are hashed at once, without a database connection."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.db import connection, connections

from models_app.domain.errors import Unavailable
from models_app.services.log_ins import hashing
from models_app.services.log_ins.hashing import Hashing
from tests.waiting import until


def test_passwords_of_earlier_versions_are_checked() -> None:
    assert check_password("secret", PBKDF2PasswordHasher().encode("secret", "salt", 1000))


def test_beyond_the_bounds_hashing_is_refused() -> None:
    permits, may_end, inside = Hashing(2, 3, 60.0), threading.Event(), []

    def hash_one() -> bool:
        try:
            with permits.permit():
                inside.append(1)
                assert may_end.wait(20)
        except Unavailable as error:
            return (error.code, error.retry_after) != ("too_many_log_ins", 3)
        return True

    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(hash_one) for _ in range(20)]
        until(lambda: sum(result.done() for result in results) == 15, "15 of 20 were refused at once")
        assert len(inside) == 2
        may_end.set()
    assert sum(result.result() for result in results) == 5


def test_a_wait_for_a_permit_has_an_end() -> None:
    permits = Hashing(1, 1, 0.01)
    with permits.permit(), pytest.raises(Unavailable), permits.permit():
        pass
    with permits.permit():
        pass


def test_errors_return_the_permit() -> None:
    permits = Hashing(1, 0, 0.01)
    for _ in range(3):
        with pytest.raises(ValueError), permits.permit():
            raise ValueError


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("password", ["right", "wrong"])
def test_a_password_is_checked_without_a_connection(password: str) -> None:
    User.objects.create_user("admin", password="right")
    held: list[Any] = []

    def noted(*args: Any, **fields: Any) -> str:
        held.append(connections["default"].connection)
        return encode(*args, **fields)

    encode = PBKDF2PasswordHasher.encode
    with mock.patch.object(PBKDF2PasswordHasher, "encode", noted):
        user = User.objects.get(username="admin")
        assert connection.connection is not None
        assert user.check_password(password) is (password == "right")
    assert held == [None]


def test_every_hash_passes_the_bound() -> None:
    with mock.patch.object(hashing, "hashing", Hashing(0, 0, 0.01)):
        with pytest.raises(Unavailable):
            make_password("a")
        with pytest.raises(Unavailable):
            check_password("secret", PBKDF2PasswordHasher().encode("secret", "salt", 1000))
