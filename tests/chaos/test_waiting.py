"""Clients that wait for jobs, and clients that guess passwords, take no resource that others need."""

from __future__ import annotations

import re
import threading
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.servers.stack import EMBER, Stack

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

# More than the connections to PostgreSQL that the web process has.
EACH = 24
SECONDS = 12.0
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


class Client(threading.Thread):
    """Repeats a request until `until`."""

    def __init__(self, url: str, until: float) -> None:
        super().__init__(daemon=True)
        self.statuses: Counter[int] = Counter()
        self.headers: list[str | None] = []
        self._until = until
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=120)

    def run(self) -> None:
        try:
            while monotonic() < self._until:
                self.once()
        finally:
            self._connection.close()

    def once(self) -> None:
        raise NotImplementedError

    def ask(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[bytes, str]:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        self.statuses[answer.status] += 1
        if answer.status in (429, 503):
            self.headers.append(answer.getheader("Retry-After"))
        return data, (answer.getheader("Set-Cookie") or "").partition(";")[0]


class Guessing(Client):
    def once(self) -> None:
        page, cookie = self.ask("GET", "/admin/login/", {"Accept": "text/html"})
        if found := _TOKEN.search(page):
            form = urlencode({"username": "admin", "password": "x", "csrfmiddlewaretoken": found[1].decode()})
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
            self.ask("POST", "/admin/login/", headers, form)


class Asking(Client):
    def __init__(self, url: str, until: float, *what: Any) -> None:
        super().__init__(url, until)
        self._what = what

    def once(self) -> None:
        self.ask(*self._what)


def test_guessed_passwords_and_waiting_operators_leave_the_server_ready(tmp_path: Path) -> None:
    with Stack(tmp_path, web_processes=1) as stack:
        url, until = stack.server.url, monotonic() + SECONDS
        key = {"Authorization": f"Bearer {stack.server.api_key}", "Content-Type": "application/json"}
        profile = '{"requests": 500, "max_tokens": 200, "concurrency": [1]}'
        guessing = [Guessing(url, until) for _ in range(EACH)]
        wait = ("POST", f"/api/v1/models/{EMBER}/profile?wait={SECONDS:.0f}", key, profile)
        waiting = [Asking(url, until, *wait) for _ in range(EACH)]
        ready, api = Asking(url, until, "GET", "/readyz", {}), Asking(url, until, "GET", "/api/v1/models", key)
        threads: list[Client] = [*guessing, *waiting, ready, api]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(150)
        assert not any(thread.is_alive() for thread in threads)
        assert set(ready.statuses) == {200}
        assert set(api.statuses) == {200}
        assert set(sum((one.statuses for one in waiting), Counter())) <= {200, 202}
        # Most are refused before a password is hashed, with the time to try again.
        guessed = sum((one.statuses for one in guessing), Counter[int]())
        assert set(guessed) <= {200, 429, 503}
        assert guessed[429] + guessed[503] > 0
        assert all(header for one in guessing for header in one.headers)
