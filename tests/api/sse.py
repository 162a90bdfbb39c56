"""A client of the event stream. Like a browser's, it can resume after the last event."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Sent:
    id: int
    name: str
    data: dict[str, Any]


class EventStream:
    """One connection, as a context manager. Reading raises TimeoutError after `seconds` without a byte."""

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        session: str = "",
        last: int | None = None,
        query: str = "",
        seconds: float = 20.0,
    ) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=seconds)
        headers = {"Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if session:
            headers["Cookie"] = f"sessionid={session}"
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self._connection.request("GET", f"/api/v1/events{query}", headers=headers)
        self.answer = self._connection.getresponse()
        self.comments = 0
        self.retry: int | None = None

    def __enter__(self) -> EventStream:
        if self.answer.status == 200:
            # The stream begins with `retry`: events after it are not missed.
            while self.retry is None:
                self._line()
        return self

    def __exit__(self, *_: Any) -> None:
        self.answer.close()
        self._connection.close()

    def json(self) -> Any:
        return orjson.loads(self.answer.read())

    def next(self) -> Sent | None:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        while (line := self._line()) is not None:
            if not line and "data" in fields:
                return Sent(int(fields["id"]), fields["event"], orjson.loads(fields["data"]))
            name, _, value = line.partition(": ")
            fields[name] = value
        return None

    def take(self, count: int) -> list[Sent]:
        found = [self.next() for _ in range(count)]
        assert None not in found, "the stream ended early"
        return [one for one in found if one is not None]

    def until_comment(self, seconds: float) -> None:
        """Reads until a heartbeat arrives; fails without one within `seconds`."""
        before, deadline = self.comments, time.monotonic() + seconds
        while self.comments == before:
            assert time.monotonic() < deadline, "no heartbeat arrived"
            assert self._line() is not None, "the stream ended"

    def _line(self) -> str | None:
        line = self.answer.readline()
        if not line:
            return None
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            self.comments += 1
        if text.startswith("retry: "):
            self.retry = int(text.removeprefix("retry: "))
        return text
