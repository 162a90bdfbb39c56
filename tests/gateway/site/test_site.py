"""The whole web process: gateway, database, Django behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from django.db import transaction
from django.db.backends.utils import CursorWrapper

from models_app.domain.states import InstanceState
from models_app.gateway.http.server import FrontProtocol, Server
from models_app.gateway.site.site import Site
from models_app.models import AccessLog, Instance, RegisteredModel
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.nodes import nodes
from models_app.services.routes import routing
from models_app.services.runners import instances
from tests.fakes.upstream import FakeUpstream
from tests.services.served import with_version
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


class RunningSite:
    """The site under uvicorn on a thread."""

    def __init__(self) -> None:
        from django.core.asgi import get_asgi_application

        self.site = Site(get_asgi_application())  # type: ignore[arg-type]
        config = uvicorn.Config(self.site, port=0, http=FrontProtocol, lifespan="on", ws="none", log_config=None)
        self.server = Server(config, self._end)
        self.thread = threading.Thread(target=self.server.run)

    async def _end(self) -> None:
        await self.site.close(5)

    def start(self) -> RunningSite:
        self.thread.start()
        until(lambda: self.server.started, "the server had started")
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def url(self) -> str:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[FakeUpstream]:
    with FakeUpstream(str(tmp_path / "r.sock")) as fake:
        yield fake


@pytest.fixture
def model(runner: FakeUpstream) -> RegisteredModel:
    """A loaded model, the target of `current`."""
    model = RegisteredModel.objects.create(provider=lookup.local_provider(), model_id="a", key="llama.cpp:a")
    model.capabilities = ["chat_completion", "streaming"]
    model.save()
    instance = Instance.objects.create(model=model, node="local", state=InstanceState.STARTING, socket=runner.path)
    instances.move(instance=instance, to=InstanceState.READY)
    routing.repoint(route=routing.get(), model=model, actor="test")
    return model


@pytest.fixture
def site(model: RegisteredModel) -> Iterator[RunningSite]:
    running = RunningSite().start()
    yield running
    running.stop()


@pytest.fixture
def client(site: RunningSite) -> Iterator[openai.OpenAI]:
    _, key = keys.create(name="test", scopes=["infer"], actor="test")
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0) as one:
        yield one


def chat(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model="current", messages=[{"role": "user", "content": "hi"}], **options)


def test_a_request_to_a_loaded_model_makes_no_query(
    site: RunningSite, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[str] = []
    execute = CursorWrapper.execute

    def spy(cursor: CursorWrapper, sql: str, params: Any = None) -> Any:
        # The log is written in batches and the revision is polled, both on separate threads.
        thread = threading.current_thread()
        if thread is site.thread or thread.name.startswith("asyncio"):
            queries.append(sql)
        return execute(cursor, sql, params)

    chat(client)  # the first request of a process can initialise caches
    monkeypatch.setattr(CursorWrapper, "execute", spy)
    for number in range(30):
        if number % 2:
            list(chat(client, stream=True))
        else:
            chat(client)
    assert queries == []
    assert sum("INSERT" in sql for sql in queries) < 30


def ready(site: RunningSite, query: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"))
    with contextlib.closing(connection):
        connection.request("GET", f"/readyz{query}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_no_model_takes_the_process_away(site: RunningSite, model: RegisteredModel) -> None:
    """The model dies, is cold, and can no longer be loaded: `/readyz` says each, and stays 200."""
    nodes.take(wait=lambda seconds: None)

    def current(state: str) -> bool:
        status, answer = ready(site)
        assert (status, answer["ready"]) == (200, True), answer
        return bool(answer["parts"]["current"]["state"] == state)

    until(lambda: current("ok"), "the model answered")
    model.instances.update(socket="/nowhere.sock")
    with transaction.atomic():
        routing.bump()
    until(lambda: current("failed"), "the model was reported")
    assert ready(site, "?model=current")[0] == 503
    with_version(model, "0" * 64)
    assert instances.move(instance=model.instances.get(), to=InstanceState.FAILED)
    until(lambda: current("cold"), "the model was cold")
    # The model's own part has a cache of a second.
    until(lambda: ready(site, "?model=current")[0] == 200, "the route would answer")
    RegisteredModel.objects.update(on_demand=False)
    with transaction.atomic():
        routing.bump()
    until(lambda: current("failed"), "nothing could load it")
    until(lambda: ready(site, "?model=current")[0] == 503, "the route would not answer")


def test_each_request_is_a_row(client: openai.OpenAI, model: RegisteredModel) -> None:
    chat(client)
    list(chat(client, stream=True))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=[])
    until(lambda: AccessLog.objects.count() == 3, "three rows were stored")
    whole, streamed, refused = AccessLog.objects.order_by("id")
    assert (whole.route, whole.model_key, whole.status) == ("current", model.key, 200)
    assert (whole.stream, streamed.stream) == (False, True)
    assert whole.prompt_tokens is not None
    assert streamed.completion_tokens is not None
    assert streamed.ttft_ms is not None
    assert (refused.status, refused.error_code) == (404, "model_not_found")
    assert whole.duration_ms > 0


def test_rows_survive_an_orderly_end(site: RunningSite, client: openai.OpenAI) -> None:
    for _ in range(20):
        chat(client)
    site.stop()
    assert AccessLog.objects.count() == 20


def test_a_revoked_key_is_refused_at_once(site: RunningSite, client: openai.OpenAI) -> None:
    chat(client)
    from models_app.models import ApiKey

    keys.revoke(key=ApiKey.objects.get())
    with pytest.raises(openai.AuthenticationError):
        chat(client)


def test_the_same_request_id_twice_is_two_rows(client: openai.OpenAI) -> None:
    """A repeated id of a client must not replace a row."""
    for _ in range(2):
        chat(client, extra_headers={"X-Request-ID": "mine"})
    until(lambda: AccessLog.objects.count() == 2, "two rows were stored")
    assert set(AccessLog.objects.values_list("client_request_id", flat=True)) == {"mine"}


def test_django_answers_the_rest(site: RunningSite, client: openai.OpenAI) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{site.url}/admin/login/") as answer:
        assert b"NOA" in answer.read()
