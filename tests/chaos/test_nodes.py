"""Three hosts: one for the web, two for models, one of which is disconnected while requests are answered."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from models_app.engines import certificates
from tests.chaos.conftest import Figures
from tests.journeys.server import ROOT, NoaServer
from tests.journeys.traffic import Traffic
from tests.servers import hosts
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.stack import Worker
from tests.waiting import until

pytestmark = [
    pytest.mark.journey,
    pytest.mark.llama,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not() or "hosts can be made"),
]

EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"
# The time in docs/nodes.md, plus the load of a demo model on a busy machine.
COMES_BACK_SECONDS = 60.0


class Cluster:
    """A web host and two with models; `names` of the latter."""

    names = ("w1", "w2")

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self.web_host, *self.hosts = stack.enter_context(hosts.Hosts(3)).hosts
        self.postgres = PostgresServer(network=hosts.NETWORK, host=hosts.GATEWAY)
        self.redis = RedisServer(durable=True, host=hosts.GATEWAY)
        for server in (self.postgres, self.redis):
            server.start()
            stack.callback(server.stop)
        trust = certificates.make(folder / "certificates")
        self._shared = {
            "DATABASE_URL": self.postgres.create("noa"),
            "NOA_BROKER_URL": self.redis.url(),
            "NOA_SECRET_KEY": "of three hosts",
            "NOA_ENCRYPTION_KEYS": base64.urlsafe_b64encode(bytes(32)).decode(),
            "NOA_NODE_CA": str(trust.authority),
            "NOA_NODE_CERT": str(trust.certificate),
            "NOA_NODE_KEY": str(trust.key),
            "NOA_DEMO_MODELS": "false",
        }
        self.web = NoaServer(
            folder / "web",
            environment=self._shared | {"NOA_NODE": "web1", "NOA_ALLOWED_HOSTS": self.web_host.address},
            host=self.web_host.address,
            prefix=self.web_host.prefix,
        ).start()
        stack.callback(self.web.stop)
        self.workers = [self._worker(number) for number in range(2)]
        for worker in self.workers:
            stack.callback(worker.stop)

    def _worker(self, number: int) -> Worker:
        name, host = self.names[number], self.hosts[number]
        models = self._folder / name / f"models-of-{name}"
        models.mkdir(parents=True)
        for file in (ROOT / "models_app" / "demo").glob("*.gguf"):
            shutil.copy(file, models)
        own = {
            "NOA_NODE": name,
            "NOA_NODE_LISTEN": f"{host.address}:8790",
            "NOA_DATA_DIR": str(self._folder / name),
            "NOA_MODELS_DIR": str(models),
        }
        return Worker(self._shared | own, self._folder / f"{name}.log", host.prefix).start()

    def nodes(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.web.api("GET", "/api/v1/nodes")[1]["nodes"]}

    def has(self, name: str, key: str, state: str = "ready") -> bool:
        found = self.nodes()[name]["instances"]
        return any(one["key"] == key and one["state"] == state for one in found)

    def do(self, path: str, **body: Any) -> dict[str, Any]:
        status, answer = self.web.api("POST", f"/api/v1/{path}?wait=90", body)
        assert status == 200 and answer["state"] == "succeeded", (answer, self.story())
        found: dict[str, Any] = answer
        return found

    def answered_by(self) -> set[str]:
        rows = self.postgres.execute("SELECT DISTINCT node FROM models_app_accesslog", "noa")
        return {str(node) for (node,) in rows}

    def story(self) -> str:
        logs = [(self._folder / f"{name}.log").read_text()[-3000:] for name in self.names]
        return "\n".join((self.web.text[-3000:], *logs))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_a_node_that_is_cut_off_is_missed_by_nobody_and_comes_back(cluster: Cluster, figures: Figures) -> None:
    first, second = cluster.names
    until(
        lambda: (
            all(node["state"] == "up" and len(node["models"]) == 2 for node in cluster.nodes().values())
            and len(cluster.nodes()) == 2
        ),
        lambda: f"both nodes had reported their models: {cluster.nodes()}\n{cluster.story()}",
        60.0,
    )
    # Two copies of one model, and one of another on the host that will be disconnected.
    cluster.do("models/load", key=EMBER, node=first)
    cluster.do("models/load", key=EMBER, node=second)
    cluster.do("models/load", key=TIDE, node=first)
    cluster.do("models/switch", key=EMBER)
    until(lambda: _answers(cluster, "current"), "the web host knew of it", 30.0)

    with Traffic(cluster.web, clients=4, per_second=40) as traffic:
        until(lambda: cluster.answered_by() >= {first, second}, "both nodes had answered", 30.0)
        began = monotonic()
        cluster.hosts[0].cut()
        until(
            lambda: cluster.has(second, TIDE),
            lambda: f"the lost model served again: {cluster.story()}",
            COMES_BACK_SECONDS,
        )
        figures.record("node_lost_model_back", monotonic() - began, bound=20.0, count=1)
        # Another worker has judged it; the web process judges by its own observations.
        until(lambda: cluster.nodes()[first]["state"] == "lost", "the web host saw no heartbeat of it", 30.0)
        until(lambda: _answers(cluster, TIDE), "it answered", 30.0)

        began = monotonic()
        cluster.hosts[0].mend()
        # Two copies are desired: the lost one is loaded on the other host.
        until(
            lambda: cluster.has(first, EMBER),
            lambda: f"the node was used again: {cluster.story()}",
            COMES_BACK_SECONDS,
        )
        figures.record("node_back_in_use", monotonic() - began, bound=20.0, count=1)
        until(lambda: not cluster.has(first, TIDE), "no model served twice", 10.0)

        job = cluster.do(f"nodes/{second}/drain")
        assert sorted(job["result"]["moved"]) == [EMBER, TIDE]
        assert not cluster.nodes()[second]["instances"]
        assert cluster.has(first, TIDE)
    assert traffic.failures == []
    assert traffic.answered > 100


def _answers(cluster: Cluster, key: str) -> bool:
    body = {"model": key, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
    return cluster.web.api("POST", "/v1/chat/completions", body)[0] == 200
