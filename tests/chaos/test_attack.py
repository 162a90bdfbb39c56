"""Requests whose cost their client chooses, beside good traffic of another key on the same model: none of it fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import attack
from tests.chaos.conftest import Figures
from tests.chaos.test_on_demand import faked
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
Times = Callable[[int, int], int]
HANGS = "hang!"


def runners(server: NoaServer, key: str) -> list[str]:
    """The states of all instances that a model has ever had."""
    status, answer = server.api("GET", f"/api/v1/models/{key}/instances")
    assert status == 200, answer
    return [instance["state"] for instance in answer["instances"]]


def current(server: NoaServer) -> str:
    _, answer = server.api("GET", "/api/v1/models/loaded")
    return str(answer["instances"][0]["key"])


@pytest.mark.llama
def test_hostile_schemas_cost_no_good_request(own_server: Own, figures: Figures, times: Times) -> None:
    server = own_server().start()
    key, model = attack.attacker_key(server), current(server)
    outcome = attack.run(server, key, attack.schemas("current"), seconds=times(20, 600))
    assert outcome.attacked.failed == []
    assert outcome.attacked.whole > 0
    assert set(outcome.answers) <= {
        "200",
        "400 invalid_schema",
        "400 context_length_exceeded",
        # The demo model's template has none.
        "400 tools_not_supported",
        "400 invalid_request_error",
        "422 schema_too_slow",
        "422 invalid_request_error",
    }, outcome.answers
    assert sum(outcome.answers.values()) > 0
    assert runners(server, model) == ["ready"], "no runner was ended"
    ratio = outcome.attacked.p95 / outcome.quiet.p95
    count = len(outcome.attacked.gaps)
    figures.record("hostile schemas: p95 between pieces, of quiet", ratio, bound=2.0, count=count, unit="times")


def test_a_request_that_hangs_a_runner_reaches_one_runner_only(own_server: Own) -> None:
    """The runner is a fake, whose only fault is the hang: its marks, its end and the refusal are real."""
    server = own_server(environment=faked(f"hangs --crash-at {HANGS}")).start()
    model = current(server)
    message = {"role": "user", "content": f"Please {HANGS}"}
    body = {"model": "current", "messages": [message]}
    status, answer = server.api("POST", "/v1/chat/completions", body)
    assert (status, answer["error"]["code"]) == (422, "request_crashes_runner"), answer
    for respelled in (body | {"temperature": 1, "user": "me"}, body | {"n": 1, "unknown": [1], "store": False}):
        status, answer = server.api("POST", "/v1/chat/completions", respelled)
        assert (status, answer["error"]["code"]) == (422, "request_crashes_runner"), answer
    other = {"model": "current", "messages": [{"role": "user", "content": "Hello!"}]}
    assert server.api("POST", "/v1/chat/completions", other)[0] == 200
    assert sorted(runners(server, model)) == ["failed", "ready"], "one runner was ended"
