"""A profile that is cancelled, or whose process is killed, leaves complete rows and no figures; traffic continues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.conftest import Figures
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
LONG: dict[str, Any] = {"requests": 1000, "concurrency": [2], "max_tokens": 64}


def loaded_key(server: NoaServer) -> str:
    _, answer = server.api("GET", "/api/v1/models/current")
    return str(answer["model"]["key"])


def begin(server: NoaServer, key: str) -> str:
    """The id of a profile job that has stored samples, far from its end."""
    status, job = server.api("POST", f"/api/v1/models/{key}/profile", LONG)
    assert status == 202, job

    def measuring() -> bool:
        _, found = server.api("GET", f"/api/v1/jobs/{job['id']}")
        assert found["state"] in ("queued", "running"), found
        return bool(found["progress"] > 0)

    until(measuring, "a profile under way", 60)
    return str(job["id"])


def left(server: NoaServer) -> dict[str, Any]:
    """The newest profile, with its samples."""
    _, answer = server.api("GET", "/api/v1/profiles?limit=1")
    _, found = server.api("GET", f"/api/v1/profiles/{answer['profiles'][0]['id']}")
    assert isinstance(found, dict)
    return found


def assert_is_cut(profile: dict[str, Any]) -> None:
    assert (profile["state"], profile["complete"], profile["summary"]) == (
        "incomplete",
        False,
        None,
    )
    assert profile["incomplete_reason"]
    samples = profile["samples"]
    assert 0 < len(samples) < LONG["requests"]
    assert len({sample["number"] for sample in samples}) == len(samples)
    assert all(
        sample["ok"] and sample["ttft_ms"] and sample["completion_tokens"] == LONG["max_tokens"] for sample in samples
    )


class Traffic:
    """One client that sends requests without a pause; `failures` are the answers other than 200."""

    def __init__(self, server: NoaServer) -> None:
        self.sent, self.failures = 0, list[Any]()
        self._server, self._stop = server, threading.Event()
        self._thread = threading.Thread(target=self._request, daemon=True)
        self._thread.start()

    def _request(self) -> None:
        body = {
            "model": "current",
            "max_tokens": 4,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        while not self._stop.is_set():
            status, answer = self._server.api("POST", "/v1/chat/completions", body)
            self.sent += 1
            if status != 200:
                self.failures.append((status, answer))

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)


def test_a_profile_that_ends_midway_leaves_whole_rows_and_live_traffic(own_server: Own, figures: Figures) -> None:
    server = own_server().start()
    key = loaded_key(server)
    traffic = Traffic(server)
    job = begin(server, key)
    server.api("POST", f"/api/v1/jobs/{job}/cancel?wait=30")
    before = traffic.sent
    until(lambda: traffic.sent >= before + 3, "traffic after the profile", 60)
    traffic.end()
    assert traffic.failures == []
    figures.record("F40 failed requests", 0, bound=0, count=traffic.sent, unit="requests")
    assert_is_cut(left(server))

    begin(server, key)
    server.kill()
    server.start()
    assert_is_cut(left(server))
