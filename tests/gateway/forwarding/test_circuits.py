"""The circuit of a provider: when it opens, the errors while it is open, and how it closes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency import breaker
from models_app.gateway.forwarding import circuits
from tests.fakes import provider_faults
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CHAT, GPT, OTHER_KEYS, Reported, endpoint, entry, serve_remote, with_models
from tests.gateway.wire import Answer, Served, wait_until

OTHER, THIRD = (f"Bearer {key}" for key in OTHER_KEYS[:2])
OPEN_AT = breaker.DEFAULT_POLICY.min_failures


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def reported() -> Reported:
    return Reported()


@pytest.fixture
def served(fake: FakeOpenAI, reported: Reported) -> Iterator[Served]:
    fake.reset()
    model = entry(GPT, endpoint(fake, ProviderKind.OPENAI, "gpt-4o"))
    with serve_remote(model, report=reported) as running:
        yield running


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Circuits with a short time until their probe."""
    policy = breaker.BreakerPolicy(first_pause=0.2, rejected_pause=0.2)
    monkeypatch.setattr(circuits, "Breaker", lambda: breaker.Breaker(policy))


def ask(served: Served, number: int = 0, **fields: Any) -> Answer:
    """A request that differs from those with another number."""
    return served.post({"model": GPT, "seed": number, **CHAT, **fields})


def until_open(served: Served) -> None:
    for number in range(OPEN_AT):
        ask(served, number)


def test_server_errors_hold_up_the_key_and_model_that_got_them(
    served: Served, fake: FakeOpenAI, reported: Reported
) -> None:
    fake.default = "status_500"
    answers = [ask(served, number) for number in range(50)]
    assert [answer.code for answer in answers] == [
        *["provider_error"] * OPEN_AT,
        *["provider_unavailable"] * (50 - OPEN_AT),
    ]
    assert len(fake.requests) == OPEN_AT
    last = answers[-1]
    assert (last.status, last.json["error"]["details"]) == (503, {"provider": "openai", "model": "gpt-4o"})
    assert 1 <= int(last.headers["retry-after"]) <= breaker.DEFAULT_POLICY.first_pause
    assert "The server had an error" in last.json["error"]["message"]
    assert reported.states == ["closed"]


def test_one_request_that_fails_each_time_counts_once(served: Served, fake: FakeOpenAI) -> None:
    fake.default = "status_500"
    assert {ask(served).code for _ in range(20)} == {"provider_error"}
    fake.default = "ok"
    assert ask(served, 1).status == 200


def test_a_provider_that_is_gone_gets_no_requests_of_any_key(served: Served, reported: Reported) -> None:
    with FakeOpenAI() as gone:
        remote = endpoint(gone, ProviderKind.OPENAI, "gpt-4o")
    mini = entry("openai:gpt-4o-mini", replace(remote, model_id="gpt-4o-mini"))
    served.source.current = with_models(served.source.current, entry(GPT, remote), mini)
    answers = [ask(served) for _ in range(20)]
    codes = [answer.code for answer in answers]
    assert set(codes) == {"provider_unreachable", "provider_unavailable"}
    assert codes.index("provider_unavailable") <= OPEN_AT
    assert answers[-1].json["error"]["details"] == {"provider": "openai"}
    assert served.post({"model": mini.key, **CHAT}).code == "provider_unavailable"
    assert reported.states == ["open"]


@pytest.mark.parametrize("word", ["close_before_headers", "html_error", "overloaded_529"])
@pytest.mark.parametrize("at_once", [1, 10])
def test_an_outage_is_not_met_with_more_load(served: Served, fake: FakeOpenAI, word: str, at_once: int) -> None:
    fake.default = word
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda number: ask(served, number), range(40)))
    assert {answer.status for answer in answers} <= {502, 503}
    assert len(fake.requests) <= 1.2 * len(answers)


def test_limits_are_not_met_with_more_load_either(
    served: Served, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "0")
    fake.default = "rate_limited_retry_after"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ask(served), range(40)))
    assert {(answer.status, answer.code) for answer in answers} == {(429, "provider_rate_limited")}
    assert len(fake.requests) <= 1.2 * len(answers)


@pytest.mark.usefixtures("brief")
def test_one_probe_closes_it_again(served: Served, fake: FakeOpenAI, reported: Reported) -> None:
    fake.default = "bad_key"
    ask(served)
    fake.default = "ok"
    calls = len(fake.requests)
    wait_until(lambda: ask(served).status == 200, "the probe")
    assert len(fake.requests) == calls + 1
    assert reported.states == ["open", "half_open", "closed"]
    assert ask(served).status == 200


@pytest.mark.usefixtures("brief")
def test_one_probe_ends_the_hold_of_a_key_and_model(served: Served, fake: FakeOpenAI) -> None:
    fake.default = "status_500"
    until_open(served)
    assert ask(served, 99).code == "provider_unavailable"
    fake.default = "ok"
    calls = len(fake.requests)
    wait_until(lambda: ask(served).status == 200, "the probe")
    assert len(fake.requests) == calls + 1
    assert ask(served).status == 200


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("word", ["status_500", "context_length_exceeded", "bad_json", "rate_limited_retry_after"])
def test_any_answer_of_a_probe_shows_that_the_provider_is_back(
    served: Served, fake: FakeOpenAI, reported: Reported, word: str
) -> None:
    fake.default = "bad_key"
    ask(served)
    fake.default = word
    wait_until(lambda: ask(served).code != "provider_unavailable", "the probe")
    fake.default = "ok"
    wait_until(lambda: served.post({"model": GPT, **CHAT}, authorization=OTHER).status == 200, "another key's request")
    assert reported.states[-1] == "closed"


@pytest.mark.usefixtures("brief")
def test_only_one_request_is_the_probe(served: Served, fake: FakeOpenAI) -> None:
    fake.default = "bad_key"
    ask(served)
    fake.reset()
    fake.default = "paced"
    circuit = served.gateway._relay._remote._circuits._circuits["openai"]
    wait_until(lambda: circuit._breaker._until < _now(served), "the pause of the circuit to be over")
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(ask, served) for _ in range(10)]
        fake.wait_for_request()
        wait_until(lambda: sum(one.done() for one in asked) == 9, "the nine others to be refused")
        fake.go.set()
        statuses = sorted(one.result().status for one in asked)
    assert statuses == [200, *[503] * 9]
    assert len(fake.requests) == 1


def test_a_refused_key_opens_it_at_once_and_says_why(served: Served, fake: FakeOpenAI, reported: Reported) -> None:
    fake.default = "bad_key"
    assert ask(served).code == "provider_auth_failed"
    answer = ask(served)
    assert (answer.status, answer.code) == (503, "provider_unavailable")
    assert "Incorrect API key" in answer.json["error"]["message"]
    assert len(fake.requests) == 1
    assert reported.states == ["open"]
    assert "Incorrect API key" in reported.reports[0][2]


def test_a_new_key_begins_a_new_circuit(served: Served, fake: FakeOpenAI, reported: Reported) -> None:
    remote = endpoint(fake, ProviderKind.OPENAI, "gpt-4o")
    current = served.source.current
    served.source.current = with_models(current, entry(GPT, replace(remote, api_key="sk-wrong")))
    assert ask(served).code == "provider_auth_failed"
    assert ask(served).code == "provider_unavailable"
    served.source.current = current
    assert ask(served).status == 200
    assert reported.states == ["open", "closed"]


def test_what_the_client_did_wrong_does_not_open_it(served: Served, fake: FakeOpenAI, reported: Reported) -> None:
    fake.default = "context_length_exceeded"
    assert {ask(served).status for _ in range(20)} == {400}
    assert len(fake.requests) == 20
    assert reported.states == ["closed"]


def test_streams_that_are_cut_hold_up_their_key_and_model(served: Served, fake: FakeOpenAI) -> None:
    fake.default = "cut_mid_stream"
    for number in range(20):
        ask(served, number, stream=True)
    assert len(fake.requests) < 20


def test_a_rate_limit_of_one_key_holds_up_others_once_they_were_limited_too(
    served: Served, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider limits the rate of one long prompt in the same way as that of all requests."""
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "60")
    body = {"model": GPT, **CHAT}
    fake.script("rate_limited_retry_after", "ok", "rate_limited_retry_after")
    assert ask(served).status == 429
    assert served.post(body, authorization=OTHER).status == 200
    assert served.post(body, authorization=OTHER).status == 429
    third = served.post(body, authorization=THIRD)
    assert (third.status, third.code, len(fake.requests)) == (429, "provider_rate_limited", 3)


def test_a_limit_of_one_model_does_not_hold_up_another(
    served: Served, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "60")
    mini = entry("openai:gpt-4o-mini", endpoint(fake, ProviderKind.OPENAI, "gpt-4o-mini"))
    served.source.current = with_models(served.source.current, mini)
    fake.script("rate_limited_retry_after")
    assert [ask(served).status for _ in range(3)] == [429] * 3
    assert len(fake.requests) == 1
    assert served.post({"model": mini.key, **CHAT}).status == 200


def _now(served: Served) -> float:
    return served.loop.time()
