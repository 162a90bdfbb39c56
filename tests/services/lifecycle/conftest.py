"""Work that goes on beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from tests.services.conftest import Work


@pytest.fixture
def in_background(do: Work) -> Iterator[Callable[..., threading.Thread]]:
    """Runs a service as a job in a thread; its end is awaited after the test."""
    started: list[threading.Thread] = []

    def begin(*args: Any, **named: Any) -> threading.Thread:
        def work() -> None:
            try:
                do(*args, **named)
            finally:
                connection.close()

        thread = threading.Thread(target=work, daemon=True)
        started.append(thread)
        thread.start()
        return thread

    yield begin
    for thread in started:
        thread.join(60)
