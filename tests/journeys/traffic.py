"""Clients that send requests without a pause on persistent connections, and record every failed request."""

from __future__ import annotations

import http.client
import itertools
import threading
from time import monotonic
from typing import Any, Self

import orjson

from tests.journeys.server import NoaServer

_TIMEOUT = 60.0


class Traffic:
    """From `__enter__` to `__exit__`. A request fails when it has no whole answer with status 200.

    A connection that the server announced to close, or closed while idle, is reopened, as HTTP requires. One that
    breaks within a request is a failure.
    """

    def __init__(
        self,
        server: NoaServer,
        *,
        clients: int,
        streams: int = 0,
        name: str = "traffic",
        per_second: float | None = None,
    ) -> None:
        """`name` is the X-Request-ID of all requests. `per_second`: the offered load, if the clients can keep up."""
        self._server = server
        self._name = name
        self._pause = (clients + streams) / per_second if per_second else 0.0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(number < streams,), daemon=True)
            for number in range(clients + streams)
        ]
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_TIMEOUT)

    def _ask_on(self, stream: bool) -> None:
        connection = self._connection()
        due = monotonic()
        for number in itertools.count():
            if self._stopping.wait(max(0.0, due - monotonic())):
                connection.close()
                return
            due = max(due, monotonic() - self._pause) + self._pause
            try:
                self._request(connection, stream, number)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
                connection = self._connection()
            else:
                with self._lock:
                    self.answered += 1

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._server.host, self._server.port, timeout=_TIMEOUT)

    def _request(self, connection: http.client.HTTPConnection, stream: bool, number: int) -> None:
        body: dict[str, Any] = {
            "model": "current",
            # Unique: a request that crashes two runners is refused.
            "messages": [{"role": "user", "content": f"Hello {threading.get_ident()}-{number}!"}],
            "max_tokens": 100 if stream else 2,
            "stream": stream,
        }
        headers = {
            "Authorization": f"Bearer {self._server.api_key}",
            "Content-Type": "application/json",
            "X-Request-ID": self._name,
        }
        connection.request("POST", "/v1/chat/completions", orjson.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{answer.status} {text[:300]!r}"
        if stream:
            assert text.rstrip().endswith(b"data: [DONE]"), f"cut: {text[-300:]!r}"
