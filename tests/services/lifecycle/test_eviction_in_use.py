"""No eviction cuts a request: a model that becomes busy between the decision and its drain stays. Real runners."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency import admission as rules
from models_app.domain.residency.ledger import LedgerKind
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.engines import control
from models_app.engines.control import _UnixConnection
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel
from models_app.services.lifecycle import eviction, loading, unloading
from models_app.services.registry import discovery
from models_app.services.runners import instances, node
from tests.fakes.gguf_files import write_random_gguf, write_tiny_gguf
from tests.services.conftest import Work
from tests.waiting import until

pytestmark = [pytest.mark.llama, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

A, B = "llama.cpp:a", "llama.cpp:b"
OPTIONS = LoadOptions(n_ctx=2048, n_threads=1)
MESSAGES = [{"role": "user", "content": "Hi"}]
# Twice what a socket's buffers hold: it is in flight until its client has read it.
LONG = {
    "messages": MESSAGES,
    "max_tokens": 300,
    "ignore_eos": True,
    "stream": True,
    "logprobs": True,
    "top_logprobs": 20,
}
# Requests that hold a runner in different ways; only streams can be held back by their client.
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", LONG),
    "whole chat": ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 600, "ignore_eos": True}),
    "completion": ("/v1/completions", {"prompt": "Hi", "max_tokens": 600, "ignore_eos": True, "stream": True}),
    "embedding": ("/v1/embeddings", {"input": ["word " * 250] * 2}),
}


@pytest.fixture
def room_for_one(
    models_dir: Path, transactional_db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, do: Work
) -> Iterator[None]:
    """A node with real runners, which holds one of two models: `a`, which is loaded, and `b`."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    # A load that waits for a runner to become idle polls it.
    monkeypatch.setattr(instances, "_POLL_SECONDS", 0.02)
    settings.NOA_MAX_LOADED_MODELS = 1
    settings.NOA_MIN_RESIDENCY = 0.0
    settings.NOA_DRAIN_TIMEOUT = 60.0
    write_random_gguf(models_dir / "a.gguf", megabytes=40, context=2048)
    write_tiny_gguf(models_dir / "b.gguf", name="b")
    node.start()
    try:
        assert do(discovery.discover, kind=JobKind.DISCOVER).state == JobState.SUCCEEDED
        job = do(loading.load, key=A, options=OPTIONS)
        assert job.state == JobState.SUCCEEDED, job.error_message
        yield
    finally:
        node.stop()


def instance(key: str) -> Instance:
    return Instance.objects.filter(model__key=key).latest("created_at")


def ready() -> set[str]:
    return set(Instance.objects.filter(state=InstanceState.READY).values_list("model__key", flat=True))


class Request:
    """A request in flight in the runner of `a`. `finish` reads its answer to the end."""

    def __init__(self, path: str, fields: dict[str, Any]) -> None:
        self._connection = _UnixConnection(instance(A).socket, 60)
        self._connection.request("POST", path, json.dumps({"model": "m", **fields}))
        try:
            until(lambda: in_flight() > 0, "the request is in flight")
        except BaseException:
            self._connection.close()
            raise

    def finish(self) -> bytes:
        answer = self._connection.getresponse()
        data = answer.read()
        self._connection.close()
        assert answer.status == 200, data
        return data

    def leave(self) -> None:
        self._connection.close()


def in_flight() -> int:
    return int(control.health(instance(A).socket)["in_flight"])


@contextmanager
def busy_at_the_last_moment(
    monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, Any]
) -> Iterator[list[Request]]:
    """The request arrives after the decision to evict, right before the runner is asked to drain if it is idle."""
    requests: list[Request] = []
    drain_if_idle = control.drain_if_idle

    def late(socket: str) -> bool:
        if not requests:
            requests.append(Request(path, fields))
        return drain_if_idle(socket)

    monkeypatch.setattr(control, "drain_if_idle", late)
    yield requests
    for request in requests:
        request.leave()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_model_that_becomes_busy_after_the_decision_is_not_evicted(
    room_for_one: None,
    in_background: Callable[..., threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    with busy_at_the_last_moment(monkeypatch, *REQUESTS[name]) as requests:
        load = in_background(loading.load, key=B, options=OPTIONS)
        steps = Job.objects.filter(subject=B).values_list("steps", flat=True)
        until(lambda: "is answering requests" in str(list(steps.all())), "the load waits", 60)
        assert ready() == {A}
        assert control.health(instance(A).socket)["state"] == "ready"
        assert not LedgerEntry.objects.filter(kind=LedgerKind.EVICTION).exists()
        data = requests[0].finish()
    assert b'"error"' not in data
    # Once it is idle, it makes room.
    load.join(60)
    assert ready() == {B}
    assert instance(A).state == InstanceState.STOPPED
    (entry,) = LedgerEntry.objects.filter(kind=LedgerKind.EVICTION)
    assert (entry.model_key, entry.data["cut_requests"]) == (A, 0)


def test_an_idle_time_out_does_not_end_a_model_that_is_used_again(
    room_for_one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    RegisteredModel.objects.filter(key=A).update(idle_ttl_seconds=1)
    until(lambda: float(control.health(instance(A).socket)["idle_seconds"]) >= 1, "it has been idle for long enough")
    with busy_at_the_last_moment(monkeypatch, *REQUESTS["chat"]) as requests:
        eviction.unload_idle()
        assert ready() == {A}
        data = requests[0].finish()
    assert data.endswith(b"data: [DONE]\n\n") and b'"error"' not in data

    def unloaded() -> bool:
        eviction.unload_idle()
        return not ready()

    until(unloaded, "it is unloaded after its next idle time", 60)
    assert Event.objects.filter(name="model-unloaded", subject=A).count() == 1


def test_a_busy_model_that_gives_way_finishes_its_streams_first(
    room_for_one: None, in_background: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, a model in constant use is drained: it accepts no more requests, and cuts none."""
    monkeypatch.setattr(rules, "PATIENCE", 0.0)
    request = Request(*REQUESTS["chat"])
    load = in_background(loading.load, key=B, options=OPTIONS)
    until(lambda: instance(A).state == InstanceState.DRAINING, "the model drains")
    until(lambda: control.health(instance(A).socket)["state"] == "draining", "its runner accepts no more requests")
    assert _refused() == "draining"
    data = request.finish()
    assert data.endswith(b"data: [DONE]\n\n") and b'"error"' not in data
    load.join(60)
    assert ready() == {B}
    (entry,) = LedgerEntry.objects.filter(kind=LedgerKind.EVICTION)
    assert (entry.model_key, entry.data["cut_requests"]) == (A, 0)


def test_an_unload_lets_streams_end(room_for_one: None, in_background: Callable[..., threading.Thread]) -> None:
    request = Request(*REQUESTS["chat"])
    unload = in_background(unloading.unload, kind=JobKind.UNLOAD, key=A)
    until(lambda: control.health(instance(A).socket)["state"] == "draining", "its runner accepts no more requests")
    assert _refused() == "draining"
    data = request.finish()
    assert data.endswith(b"data: [DONE]\n\n") and b'"error"' not in data
    unload.join(60)
    assert not ready()
    (entry,) = LedgerEntry.objects.filter(kind=LedgerKind.UNLOAD)
    assert entry.data["cut_requests"] == 0


def _refused() -> str:
    """The code of a new request to the runner of `a`."""
    client = _UnixConnection(instance(A).socket, 60)
    client.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 1}))
    answer: http.client.HTTPResponse = client.getresponse()
    assert answer.status == 503
    code: str = json.loads(answer.read())["error"]["code"]
    client.close()
    return code
