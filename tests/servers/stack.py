"""NOA as in production: PostgreSQL, Redis, web processes and a worker, as separate processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.journeys.server import ROOT, NoaServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.waiting import until

DATABASE = "noa"
EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"
_START_SECONDS = 90.0


@dataclass
class Worker:
    """`celery worker` of one node."""

    environment: dict[str, str]
    log: Path
    prefix: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "noa_site",
                    "worker",
                    "--loglevel",
                    "INFO",
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Stack:
    """`with Stack(folder) as stack:` has the demo models registered and `current` leading to Ember."""

    def __init__(self, folder: Path, *, web_processes: int = 2, max_connections: int = 100) -> None:
        self.postgres = PostgresServer(max_connections=max_connections)
        self.redis = RedisServer(durable=True)
        self._folder = folder
        self._web_processes = web_processes

    def __enter__(self) -> Self:
        self.postgres.start()
        self.redis.start()
        self.environment = {
            "DATABASE_URL": self.postgres.create(DATABASE),
            "NOA_BROKER_URL": self.redis.url(),
            "NOA_DATA_DIR": str(self._folder / "data"),
        }
        self.server = NoaServer(
            self._folder / "data",
            environment=self.environment,
            arguments=["--workers", str(self._web_processes)],
        )
        self.worker = Worker(self.environment, self._folder / "worker.log")
        self.server.start()
        self.worker.start()
        self.ask("/api/v1/models/discover?wait=60", {})
        self.switch(EMBER)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.server.stop()
        self.redis.stop()
        self.postgres.stop()

    def ask(self, path: str, body: object) -> dict[str, object]:
        """Run a job to success; fails with the whole job."""
        status, answer = self.server.api("POST", path, body)
        assert status == 200 and answer.get("state") == "succeeded", (answer, self.story())
        found: dict[str, object] = answer
        return found

    def switch(self, key: str) -> None:
        self.ask("/api/v1/models/switch?wait=60", {"key": key})

    def until_current_answers(self) -> None:
        body = {"model": "current", "messages": [{"role": "user", "content": "Hello!"}]}
        until(
            lambda: self.server.api("POST", "/v1/chat/completions", body)[0] == 200,
            "'current' answered",
            _START_SECONDS,
        )

    def manage(self, *words: str) -> None:
        """Run a command of `manage.py` to its end, beside the server."""
        subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
        )

    def count(self, sql: str) -> int:
        """The single number that a query returns."""
        return int(str(self.postgres.execute(sql, DATABASE)[0][0]))

    def messages_received(self) -> int:
        """The number of messages that the worker has received from the broker."""
        return self.worker.log.read_text().count(" received")

    def story(self) -> str:
        return f"{self.server.text[-3000:]}\n{self.worker.log.read_text()[-3000:]}"
