"""Requests for a model that is not loaded: whether they wait, for how long, and their answers."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from models_app.domain.errors import LoadFailed
from models_app.domain.residency.demand import EVERYTHING, ColdModel, Permission
from models_app.domain.traffic.routing import Snapshot, Target
from models_app.gateway.http.request_body import Limits
from tests.fakes.upstream import DEADLINE, FakeUpstream
from tests.gateway.model_loader import FakeModelLoader
from tests.gateway.wire import (
    COLD,
    EMBEDDER,
    TEXT,
    Answer,
    Served,
    Wire,
    request,
    serve,
    snapshot,
    wait_until,
)

ASK = {"model": "cold"}


def loaded(address: str, revision: int = 2, instance: str = "instance-cold") -> Snapshot:
    """As `snapshot`, and the cold model is loaded."""
    before = snapshot(address, revision)
    entry = dataclasses.replace(before.models[COLD], target=Target(COLD, instance, address, TEXT))
    return dataclasses.replace(before, models={**before.models, COLD: entry})


def limited(permission: Permission, *, by: str) -> Snapshot:
    """The cold model with `permission` in its own entry, the API key or the route `cold-route`."""
    before = snapshot("")
    if by == "route":
        return dataclasses.replace(before, permissions={"cold-route": permission})
    if by == "key":
        keys = {hashed: dataclasses.replace(key, permission=permission) for hashed, key in before.keys.items()}
        return dataclasses.replace(before, keys=keys)
    entry = dataclasses.replace(before.models[COLD], permission=permission)
    return dataclasses.replace(before, models={**before.models, COLD: entry})


def ask(pool: ThreadPoolExecutor, served: Served, count: int = 1) -> list[Future[Answer]]:
    return [pool.submit(served.post, ASK) for _ in range(count)]


def test_a_request_waits_until_its_model_is_loaded(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    waiting = pool.submit(served.post, ASK, x_request_id="cold")
    loader.until_waiting(1)
    assert loader.demands[-1].key == COLD and loader.demands[-1].permission == EVERYTHING
    served.source.current = loaded(upstream.path)
    answer = waiting.result(DEADLINE)
    assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "1")
    assert answer.headers["x-noa-model"] == COLD
    loader.until_waiting(0)
    record = served.record_of("cold")
    assert record.load_wait_ms is not None and 0 < record.load_wait_ms <= record.duration_ms


def test_all_who_wait_are_answered_when_the_model_is_loaded(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    waiting = ask(pool, served, 50)
    loader.until_waiting(50)
    served.source.current = loaded(upstream.path)
    assert {one.result(DEADLINE).status for one in waiting} == {200}
    loader.until_waiting(0)


def test_all_who_wait_are_told_at_once_why_it_cannot_be_loaded(
    served: Served, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    waiting = ask(pool, served, 20)
    loader.until_waiting(20)
    served.gateway.pending.end_wait(COLD, LoadFailed("The file has no tensors.", stage="load"))
    answers = [one.result(DEADLINE) for one in waiting]
    assert {(answer.status, answer.code) for answer in answers} == {(502, "load_failed")}
    assert answers[0].json["error"]["message"] == "The file has no tensors."
    loader.until_waiting(0)


@pytest.mark.parametrize("header", [{"x_noa_wait": "0.2"}, {"prefer": "respond-async, wait=0.2"}])
def test_a_request_that_will_wait_less_is_told_when_to_come_back(
    served: Served, loader: FakeModelLoader, header: dict[str, str]
) -> None:
    answer = served.post(ASK, **header)
    assert (answer.status, answer.code) == (503, "model_loading")
    assert answer.headers["retry-after"] == "7"
    loader.until_waiting(0)


def test_a_request_that_will_not_wait_is_refused(served: Served, loader: FakeModelLoader) -> None:
    answer = served.post(ASK, x_noa_wait="0")
    assert (answer.status, answer.code) == (503, "model_not_loaded")
    assert not loader.demands


def test_a_load_that_is_not_permitted_ends_the_wait(
    served: Served, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    waiting = ask(pool, served, 2)
    loader.until_waiting(2)
    served.gateway.pending.end_wait(COLD, ColdModel(COLD))
    answers = [one.result(DEADLINE / 2) for one in waiting]
    assert {(answer.status, answer.code) for answer in answers} == {(503, "model_not_loaded")}
    loader.until_waiting(0)


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "nan"])
def test_a_wait_that_is_no_time_is_refused(served: Served, value: str) -> None:
    answer = served.post(ASK, x_noa_wait=value)
    assert (answer.status, answer.json["error"]["param"]) == (400, "X-NOA-Wait")


@pytest.mark.parametrize("by", ["model", "key", "route"])
def test_what_may_not_load_or_evict_is_told_with_the_request(
    served: Served, loader: FakeModelLoader, pool: ThreadPoolExecutor, by: str
) -> None:
    served.source.current = limited(Permission(load=True, evict=False), by=by)
    waiting = pool.submit(served.post, {"model": "cold-route"})
    loader.until_waiting(1)
    assert loader.demands[-1].permission == Permission(load=True, evict=False)
    served.source.current = limited(Permission(load=False, evict=True), by=by)
    second = pool.submit(served.post, {"model": "cold-route"})
    loader.until_waiting(2)
    # A request with permission to load loads for all.
    assert loader.demands[-1].permission == EVERYTHING
    served.gateway.pending.end_wait(COLD, LoadFailed("It was only a test.", stage="load"))
    assert {one.result(DEADLINE).status for one in (waiting, second)} == {502}


def test_a_model_that_cannot_do_what_is_asked_is_not_loaded_for_it(served: Served, loader: FakeModelLoader) -> None:
    answer = served.post({"model": "cold", "input": "x"}, "/v1/embeddings")
    assert (answer.status, answer.code) == (400, "capability_not_supported")
    assert not loader.demands


def test_a_client_that_leaves_frees_its_place(served: Served, upstream: FakeUpstream, loader: FakeModelLoader) -> None:
    with served.wire() as first, served.wire() as second:
        first.send(request(ASK, x_request_id="gone"))
        second.send(request(ASK))
        loader.until_waiting(2)
        first.__exit__()
        loader.until_waiting(1)
        served.source.current = loaded(upstream.path)
        assert second.answer().status == 200
    record = served.record_of("gone")
    assert (record.status, record.error_code, record.attempts) == (499, "client_left", 0)
    assert len(upstream.exchanges) == 1


def test_a_full_queue_refuses_at_once_and_hurts_nobody_else(
    upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    limits = Limits(wait_seconds=DEADLINE, queue_limit=64)
    with serve(upstream.path, limits=limits, loader=loader) as served:
        wires = [served.wire().send(request(ASK)) for _ in range(64)]
        loader.until_waiting(64)
        refused = [answer.result(DEADLINE) for answer in ask(pool, served, 100)]
        assert {(answer.status, answer.code) for answer in refused} == {(503, "queue_full")}
        assert {answer.headers["retry-after"] for answer in refused} == {"7"}
        served.works()
        served.source.current = loaded(upstream.path)
        assert {wire.answer().status for wire in wires} == {200}
        for wire in wires:
            wire.__exit__()
        assert served.post(ASK).status == 200


def test_a_crowd_before_a_loaded_model_is_bounded_too(upstream: FakeUpstream) -> None:
    upstream.script(*["hang"] * 8)
    with serve(upstream.path, limits=Limits(queue_limit=8)) as served:
        wires = [served.wire().send(request({"model": "current"})) for _ in range(8)]
        upstream.wait_for_exchange(8)
        answer = served.post({"model": "current"})
        assert (answer.status, answer.code) == (503, "queue_full")
        for wire in wires:
            wire.__exit__()
        for exchange in upstream.exchanges:
            assert exchange.left.wait(DEADLINE)
        wait_until(lambda: not served.gateway._active, "the requests to end")
        served.works()


def test_a_server_that_stops_lets_nobody_wait(
    upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    with serve(upstream.path, limits=Limits(wait_seconds=DEADLINE), loader=loader) as served:
        waiting = ask(pool, served)[0]
        loader.until_waiting(1)
    assert waiting.result(DEADLINE).code == "server_stopping"


def test_a_route_that_is_moved_meanwhile_is_followed(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    waiting = pool.submit(served.post, {"model": "cold-route"})
    loader.until_waiting(1)
    served.source.current = snapshot(upstream.path, 2, **{"cold-route": "llama.cpp:org/chat-7b.q4"})
    assert waiting.result(DEADLINE).headers["x-noa-model"] == "llama.cpp:org/chat-7b.q4"
    loader.until_waiting(0)


def test_a_route_with_a_fallback_that_answers_does_not_wait(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader
) -> None:
    before = snapshot(upstream.path)
    served.source.current = dataclasses.replace(before, fallbacks={"cold-route": ("llama.cpp:org/chat-7b.q4",)})
    assert served.post({"model": "cold-route"}).status == 200
    assert not loader.demands


def test_a_route_whose_fallbacks_cannot_answer_waits_for_its_target(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    before = snapshot(upstream.path)
    served.source.current = dataclasses.replace(before, fallbacks={"cold-route": (EMBEDDER,)})
    waiting = pool.submit(served.post, {"model": "cold-route"})
    loader.until_waiting(1)
    served.source.current = loaded(upstream.path)
    assert waiting.result(DEADLINE).headers["x-noa-model"] == COLD


def test_a_request_that_was_in_two_runners_when_they_died_reaches_no_third_one_after_its_fallbacks(
    served: Served, loader: FakeModelLoader, pool: ThreadPoolExecutor, sockets: Path
) -> None:
    fallbacks = {"cold-route": (EMBEDDER,)}
    with FakeUpstream(str(sockets / "dying.sock")) as dying:
        dying.script("close", "close", "answer")
        served.source.current = dataclasses.replace(loaded(dying.path, 2, "first"), fallbacks=fallbacks)
        served.source.next = dataclasses.replace(snapshot(dying.path, 3), fallbacks=fallbacks)
        waiting = pool.submit(served.post, {"model": "cold-route"})
        loader.until_waiting(1)
        served.source.current = dataclasses.replace(loaded(dying.path, 4, "second"), fallbacks=fallbacks)
        answer = waiting.result(DEADLINE)
        assert (answer.status, answer.code, answer.headers["x-noa-attempts"]) == (502, "runner_died", "2")
    assert [death.instance_id for death in loader.deaths] == ["first", "second"]


def test_a_runner_that_died_is_waited_for_and_the_request_asked_once_more(
    served: Served,
    upstream: FakeUpstream,
    loader: FakeModelLoader,
    pool: ThreadPoolExecutor,
    sockets: Path,
) -> None:
    with FakeUpstream(str(sockets / "old.sock")) as old:
        served.source.current = loaded(old.path, 2, "first")
        old.script("close")
        waiting = ask(pool, served)[0]
        loader.until_waiting(1)
        # Its death is in the snapshot, and then the restarted runner.
        served.source.current = snapshot(upstream.path, 3)
        served.source.current = loaded(upstream.path, 4, "second")
        answer = waiting.result(DEADLINE)
    assert (answer.status, answer.headers["x-noa-attempts"]) == (200, "2")
    assert [death.instance_id for death in loader.deaths] == ["first"]
    assert len(upstream.exchanges) == 1


def test_a_request_that_was_in_no_runner_yet_is_asked_once_more_too(
    served: Served,
    upstream: FakeUpstream,
    loader: FakeModelLoader,
    pool: ThreadPoolExecutor,
    sockets: Path,
) -> None:
    served.source.current = loaded(str(sockets / "nobody.sock"), 2, "gone")
    waiting = ask(pool, served)[0]
    loader.until_waiting(1)
    with FakeUpstream(str(sockets / "dying.sock")) as dying:
        dying.script("close")
        served.source.current = loaded(dying.path, 3, "dying")
        wait_until(lambda: bool(loader.deaths), "the runner has died")
        loader.until_waiting(1)
        served.source.current = loaded(upstream.path, 4, "second")
        assert waiting.result(DEADLINE).status == 200


def test_a_runner_that_is_not_there_is_waited_for_as_long_as_it_takes(
    served: Served,
    upstream: FakeUpstream,
    loader: FakeModelLoader,
    pool: ThreadPoolExecutor,
    sockets: Path,
) -> None:
    served.source.current = loaded(str(sockets / "nobody.sock"), 2, "first")
    waiting = ask(pool, served, 5)
    loader.until_waiting(5)
    served.source.current = loaded(upstream.path, 3, "second")
    assert {one.result(DEADLINE).status for one in waiting} == {200}
    assert not loader.deaths


def test_a_model_that_is_being_unloaded_is_not_asked(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    served.source.current = loaded(upstream.path, 2, "old")
    upstream.script("draining")
    waiting = ask(pool, served)[0]
    loader.until_waiting(1)
    served.source.current = loaded(upstream.path, 3, "new")
    assert waiting.result(DEADLINE).status == 200
    assert len(upstream.exchanges) == 2


def test_who_was_in_a_runner_that_died_waits_for_its_turn(
    served: Served,
    upstream: FakeUpstream,
    loader: FakeModelLoader,
    pool: ThreadPoolExecutor,
    sockets: Path,
) -> None:
    with FakeUpstream(str(sockets / "dying.sock")) as dying:
        served.source.current = loaded(dying.path, 2, "first")
        dying.script("close")
        loader.holds_all = True
        waiting = ask(pool, served)[0]
        loader.until_waiting(1)
        served.source.current = loaded(upstream.path, 3, "second")
        # Other requests are served meanwhile.
        assert served.post(ASK).status == 200
        assert not waiting.done() and not loader.trials
        loader.holds_all = False
        served.gateway.pending.wake()
        assert waiting.result(DEADLINE).status == 200
    (death,) = loader.deaths
    assert loader.trials == [(death, True)]


def test_a_stream_that_its_runner_cut_has_no_second_try(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader
) -> None:
    upstream.script("cut_stream")
    assert b"runner_died" in served.post({"model": "current", "stream": True}).body
    (death,) = loader.deaths
    wait_until(lambda: loader.trials == [(death, False)], "its trial is closed")


def test_a_pipelined_request_waits_for_the_first(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader
) -> None:
    with Wire(served.port) as wire:
        wire.send(request(ASK) * 2)
        loader.until_waiting(1)
        served.source.current = loaded(upstream.path)
        assert [wire.answer().status, wire.answer().status] == [200, 200]
