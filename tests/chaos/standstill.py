"""Two shapes of NOA that stand still, and what is away after they wake."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
import psutil

from tests.journeys.server import NoaServer, free_port
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.stack import Worker
from tests.servers.stepped_clock import SteppedClock
from tests.waiting import until

EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"
# The longest absence of a model after waking that is accepted, and what a run waits for before it fails.
BOUND_SECONDS = 15.0
_PATIENCE_SECONDS = 120.0
# The longest delay of an answer on a busy machine.
_SLOW_SECONDS = 10.0
DAY = 86400.0


@dataclass
class Shape:
    """A running NOA with both demo models loaded. `others` are servers besides NOA's own processes."""

    server: NoaServer
    clock: SteppedClock
    workers: list[Worker] = field(default_factory=list)
    others: list[PostgresServer | RedisServer] = field(default_factory=list)

    def processes(self) -> list[int]:
        """NOA's processes and all their children: runners too."""
        parents = [self.server.process.pid, *(worker.process.pid for worker in self.workers)]
        found = list(parents)
        for parent in parents:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child.pid for child in psutil.Process(parent).children(recursive=True)]
        return found

    def everything(self) -> list[int]:
        return [*self.processes(), *(pid for other in self.others for pid in other.processes())]

    def scopes(self) -> list[list[int]]:
        """What stands still: the whole machine, NOA without its servers, its servers alone, or one worker alone."""
        found = [self.everything(), self.processes()]
        found += [[pid for other in self.others for pid in other.processes()]] if self.others else []
        return found + [[worker.process.pid] for worker in self.workers]

    def ready(self) -> dict[str, int]:
        """The number of ready copies of each model."""
        loaded = self.server.api("GET", "/api/v1/models/loaded")[1]["instances"]
        return Counter(one["key"] for one in loaded if one["state"] == "ready")

    def answers(self, key: str) -> bool:
        body = {"model": key, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1}
        return self.server.api("POST", "/v1/chat/completions", body)[0] == 200

    def deaths(self) -> dict[int, str]:
        """The last instances that failed, by the number of their event."""
        found = self.server.api("GET", "/api/v1/events?name=instance-failed&limit=50")[1]
        return {int(event["id"]): str(event["message"]) for event in found["events"]}


@contextmanager
def embedded(folder: Path) -> Iterator[Shape]:
    """One process with SQLite."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = SteppedClock(folder)
    server = NoaServer(folder / "data", environment=clock.environment).start()
    try:
        shape = Shape(server, clock)
        _load(shape, ("local", EMBER), ("local", TIDE))
        yield shape
    finally:
        server.stop()


@contextmanager
def two_nodes(folder: Path) -> Iterator[Shape]:
    """PostgreSQL, Redis, a web process and two workers, each with one model."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        clock = SteppedClock(folder)
        postgres, redis = PostgresServer(), RedisServer(durable=True)
        for own in (postgres, redis):
            own.start()
            stack.callback(own.stop)
        shared = {
            "DATABASE_URL": postgres.create("noa"),
            "NOA_BROKER_URL": redis.url(),
            "NOA_SECRET_KEY": "of a standstill",
            "NOA_NODE_SECRET": "of a standstill, and long enough for a secret",
            **clock.environment,
        }
        server = NoaServer(folder / "web", environment=shared | {"NOA_NODE": "web1"}).start()
        stack.callback(server.stop)
        workers = [_worker(folder, name, shared) for name in ("w1", "w2")]
        for worker in workers:
            stack.callback(worker.stop)
        shape = Shape(server, clock, workers, [postgres, redis])
        until(lambda: _have_models(shape), "both nodes had reported their models", 90.0)
        _load(shape, ("w1", EMBER), ("w2", TIDE))
        yield shape


def _worker(folder: Path, name: str, shared: dict[str, str]) -> Worker:
    own = {
        "NOA_NODE": name,
        "NOA_NODE_LISTEN": f"127.0.0.1:{free_port()}",
        "NOA_DATA_DIR": str(folder / name),
    }
    (folder / name).mkdir(parents=True, mode=0o700)
    return Worker(shared | own, folder / f"{name}.log").start()


def _have_models(shape: Shape) -> bool:
    nodes = shape.server.api("GET", "/api/v1/nodes")[1]["nodes"]
    return len([node for node in nodes if node["state"] == "up" and len(node["models"]) >= 2]) >= 2


def _load(shape: Shape, *places: tuple[str, str]) -> None:
    for node, key in places:
        if shape.ready().get(key):
            continue
        body = {"key": key} | ({"node": node} if node != "local" else {})
        status, answer = shape.server.api("POST", "/api/v1/models/load?wait=90", body)
        assert status == 200 and answer["state"] == "succeeded", (answer, shape.server.text[-3000:])
    until(lambda: shape.answers(EMBER) and shape.answers(TIDE), "both models answered", 60.0)


class Stream:
    """One long answer, read on a thread. `ending` is "done", "error event" or "cut" when it has ended."""

    def __init__(self, server: NoaServer, key: str) -> None:
        self._server, self._key = server, key
        self.ending = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        body = {"model": self._key, "stream": True, "max_tokens": 400, "temperature": 0.0}
        body["messages"] = [{"role": "user", "content": "Tell me a long story."}]
        headers = {"Authorization": f"Bearer {self._server.api_key}", "Content-Type": "application/json"}
        request = Request(f"{self._server.url}/v1/chat/completions", data=orjson.dumps(body), headers=headers)
        last = b""
        try:
            with urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
                for line in answer:
                    last = line.strip() or last
        except HTTPError as error:
            last = error.read()
        except OSError:
            pass
        self.ending = "done" if last == b"data: [DONE]" else "error event" if b'"error"' in last else "cut"

    def ended(self) -> str:
        self._thread.join(_PATIENCE_SECONDS)
        return self.ending or "never"


@dataclass
class Report:
    """What a run has seen.

    away            seconds after waking until both models were ready, for each pause or step
    double_loads    observations of more than one ready copy of a model
    endings         of the streams that were open: "done", "error event" or "cut"
    deaths          events of instances that failed, unless a worker stood still alone: the others write it off rightly
    """

    away: list[float] = field(default_factory=list)
    double_loads: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "count": len(self.away),
            "longest_away_seconds": round(max(self.away, default=0.0), 2),
            "double_loads": self.double_loads,
            "killed_runners": len(self.deaths),
            "streams": dict(self.endings),
            "deaths": self.deaths,
        }


def pause(shape: Shape, seconds: float, pids: list[int], report: Report) -> None:
    """Stop these processes for so long; then wait until both models answer, with only readiness checks before."""
    before = shape.deaths()
    streams = [Stream(shape.server, key) for key in (EMBER, TIDE)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        threading.Event().wait(seconds)
    finally:
        # In another order than they were stopped: any of them can be the first to wake.
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    _wake(shape, report)
    if len(pids) > 1:
        report.deaths += [text for number, text in shape.deaths().items() if number not in before]
    report.endings.update(stream.ended() for stream in streams)


def step(shape: Shape, seconds: float, report: Report) -> None:
    """Set the wall clock of NOA's processes."""
    before = shape.deaths()
    streams = [Stream(shape.server, key) for key in (EMBER, TIDE)]
    shape.clock.set_to(seconds)
    shown = datetime.fromisoformat(shape.server.api("GET", "/api/v1/models/export")[1]["exported_at"])
    assert abs(shown.timestamp() - time() - seconds) < _SLOW_SECONDS, "the server has the clock that was set"
    _wake(shape, report)
    report.deaths += [text for number, text in shape.deaths().items() if number not in before]
    report.endings.update(stream.ended() for stream in streams)


def _wake(shape: Shape, report: Report) -> None:
    began = monotonic()
    until(_quiet(lambda: shape.server.api("GET", "/readyz")[0] == 200), "it was ready", _PATIENCE_SECONDS)
    # A node that is written off wrongly is so within the time after which a heartbeat counts as missing.
    watched = monotonic() + 3.0
    away = 0.0
    while monotonic() < watched or away == 0.0:
        if _quiet(lambda: set(shape.ready()) >= {EMBER, TIDE})():
            away = away or monotonic() - began
        elif away:
            # It went away afterwards.
            away, watched = 0.0, monotonic() + 3.0
        report.double_loads += any(count > 1 for count in shape.ready().values())
        assert monotonic() - began < _PATIENCE_SECONDS, (shape.server.text[-5000:], shape.ready())
        threading.Event().wait(0.1)
    assert shape.answers(EMBER) and shape.answers(TIDE)
    report.away.append(away)


def _quiet(check: Callable[[], bool]) -> Callable[[], bool]:
    """`check`, False while the server refuses connections."""

    def quiet() -> bool:
        try:
            return check()
        except OSError:
            return False

    return quiet


def pauses(shape: Shape, count: int, *, longest: float = 90.0, seed: int = 14) -> Report:
    """`count` pauses of 1 to `longest` seconds, evenly on a logarithmic scale, of each scope in turn.

    The first one of each scope is longer than a heartbeat may be late.
    """
    report, chosen = Report(), random.Random(seed)
    for number in range(count):
        scopes = shape.scopes()
        seconds = 14.0 if number < len(scopes) else longest ** chosen.random()
        scope = scopes[number % len(scopes)]
        pause(shape, seconds, scope, report)
    return report


def steps(shape: Shape, count: int, *, seed: int = 14) -> Report:
    """`count` steps of the clock by 1 second to 1 day, forward and back in turn; the first one by a day."""
    report, chosen = Report(), random.Random(seed)
    for number in range(count):
        sign = 1 if number % 2 == 0 else -1
        step(shape, sign * (DAY ** chosen.random() if number else DAY), report)
    return report
