"""Clients whose requests have unique ids, so that each can be found in the access log."""

from __future__ import annotations

import http.client
import itertools
import threading
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import Any, Self

import orjson

from tests.journeys.server import NoaServer

_TIMEOUT = 60.0


@dataclass
class Asking:
    """From `__enter__` to `__exit__`, `clients` send requests without a pause, or `per_second` in total.

    answered  ids of requests with a whole answer, to their duration in seconds
    cut       ids of requests without an answer, or with a truncated one
    """

    server: NoaServer
    clients: int = 4
    streams: int = 0
    model: str = "current"
    name: str = "ask"
    per_second: float | None = None
    good: tuple[int, ...] = (200,)
    answered: dict[str, float] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._ids = itertools.count(1)
        self._pause = (self.clients + self.streams) / self.per_second if self.per_second else 0.0
        self._threads = [
            threading.Thread(target=self._ask_on, args=(number < self.streams,), daemon=True)
            for number in range(self.clients + self.streams)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Every client finishes its request in flight."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    def _ask_on(self, stream: bool) -> None:
        due = monotonic()
        connection: http.client.HTTPConnection | None = None
        while not self._stopping.wait(max(0.0, due - monotonic())):
            due = max(due, monotonic() - self._pause) + self._pause
            number = next(self._ids)
            request_id = f"{self.name}-{number}"
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=_TIMEOUT)
            start = perf_counter()
            try:
                self._request(connection, request_id, stream, number)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.cut[request_id] = f"{type(error).__name__}: {error}"
                connection.close()
                connection = None
            else:
                self.answered[request_id] = perf_counter() - start
        if connection:
            connection.close()

    def _request(self, connection: http.client.HTTPConnection, request_id: str, stream: bool, number: int) -> None:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"Hello {number}!"}],
            "max_tokens": 100 if stream else 1,
            "stream": stream,
        }
        headers = {
            "Authorization": f"Bearer {self.server.api_key}",
            "Content-Type": "application/json",
            "X-Request-ID": request_id,
        }
        connection.request("POST", "/v1/chat/completions", orjson.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in self.good, f"{answer.status} {text[:300]!r}"
        if stream and answer.status == 200:
            assert text.rstrip().endswith(b"data: [DONE]"), f"cut: {text[-300:]!r}"
