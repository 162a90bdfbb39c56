"""Requests that crash runners: retried alone, then refused."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from models_app.domain.residency.suspects import Trials
from models_app.domain.traffic.digests import digest
from tests.fakes.upstream import DEADLINE, FakeUpstream
from tests.gateway.model_loader import FakeModelLoader
from tests.gateway.wire import Served, snapshot, wait_until


def test_a_request_that_kills_runners_is_refused(served: Served, upstream: FakeUpstream) -> None:
    killer = {"model": "current", "messages": [{"role": "user", "content": "die"}]}
    found = digest("/v1/chat/completions", killer)
    before = snapshot(upstream.path)
    chat = before.routes["current"]
    assert chat is not None
    served.source.current = dataclasses.replace(before, killers={chat: {found: 4e9}})
    for body in (killer, {**killer, "stream": True, "user": "somebody else"}):
        answer = served.post(body)
        assert (answer.status, answer.code) == (422, "request_crashes_runner")
    assert served.post({**killer, "messages": []}).status == 200
    served.source.current = dataclasses.replace(before, killers={chat: {found: 1.0}})
    assert served.post(killer).status == 200, "the refusal expires"


def test_who_asks_what_is_on_trial_waits_for_the_same_turn(
    served: Served, upstream: FakeUpstream, loader: FakeModelLoader, pool: ThreadPoolExecutor
) -> None:
    suspect = {"model": "current", "messages": [{"role": "user", "content": "die"}]}
    found = digest("/v1/chat/completions", suspect)
    before = snapshot(upstream.path)
    chat = before.routes["current"]
    assert chat is not None
    on_trial = Trials(until=4e9, crashed={found: "crashed"})
    served.source.current = dataclasses.replace(before, trials={chat: on_trial})
    loader.holds_all = True
    waiting = pool.submit(served.post, {**suspect, "user": "somebody else"})
    loader.until_waiting(1)
    assert served.post({**suspect, "messages": []}).status == 200, "other requests are served meanwhile"
    assert not waiting.done()
    loader.holds_all = False
    served.gateway.pending.wake()
    assert waiting.result(DEADLINE).status == 200
    (death,) = loader.joined
    assert (death.instance_id, death.digest) == ("crashed", found)
    wait_until(lambda: loader.trials == [(death, True)], "the runner survived it")
    served.source.current = dataclasses.replace(before, trials={chat: Trials(1.0, {found: "x"})})
    assert served.post(suspect).status == 200
    assert loader.joined == [death], "an expired trial delays no request"
