"""One client's refusal is no other client's: a provider that refuses or fails at some requests answers all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.breaker import DEFAULT_POLICY
from models_app.gateway.http.request_body import Limits
from tests.fakes import provider_faults
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_faults import BEHAVIOURS, PROMPTED, SHAPES, Refusal
from tests.gateway.remotes import CLAUDE, GPT, OTHER_KEYS, Reported, as_new, endpoint, entry, serve_remote
from tests.gateway.wire import KEY, Answer, Served

pytestmark = pytest.mark.wide

# Long enough for a good answer on a busy machine.
LIMITS = Limits(first_byte_seconds=2.5, idle_seconds=2.5)
MINI = "openai:gpt-4o-mini"
HAIKU = "anthropic:claude-haiku-4-5-20251001"
# More than open a circuit.
MANY = DEFAULT_POLICY.min_failures + 2
# All that a provider can answer about a request; 401 is about NOA's key, 429 about the rate.
REFUSED = (
    *range(402, 407),
    *range(408, 427),
    *(400, 428, 431, 444, 451, 460, 498, 499),
)
FAILED = (500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 521, 522, 524, 529, 530, 599)
# Every fault of a connection or an answer, but those that are about the key, or hold no fault.
NONSENSE = sorted(
    set(BEHAVIOURS)
    - {"as_prompted", "bad_key", "ok", "paced", "slow_tokens", "no_done", "no_usage", "usage_in_chunk_with_choices"}
)
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "{}"}]},
    "/v1/completions": {"prompt": "{}"},
    "/v1/responses": {"input": "{}"},
    "/v1/messages": {"messages": [{"role": "user", "content": "{}"}], "max_tokens": 100},
}


def _each(statuses: tuple[int, ...], thorough: tuple[int, ...]) -> list[tuple[int, str]]:
    """Every status, and some of them in every shape. All pairs are in test_circuit_isolation.py."""
    return [(status, "dialect") for status in statuses if status not in thorough] + [
        (status, shape) for status in thorough for shape in SHAPES
    ]


@pytest.fixture(scope="module")
def fakes() -> Iterator[tuple[FakeOpenAI, FakeAnthropic]]:
    with FakeOpenAI() as openai, FakeAnthropic() as anthropic:
        yield openai, anthropic


@pytest.fixture(scope="module")
def reported() -> Reported:
    return Reported()


@pytest.fixture(scope="module")
def shared(fakes: tuple[FakeOpenAI, FakeAnthropic], reported: Reported) -> Iterator[Served]:
    openai, anthropic = fakes
    models = [
        *(entry(f"openai:{name}", endpoint(openai, ProviderKind.OPENAI, name)) for name in ("gpt-4o", "gpt-4o-mini")),
        *(entry(key, endpoint(anthropic, ProviderKind.ANTHROPIC, key.partition(":")[2])) for key in (CLAUDE, HAIKU)),
    ]
    with serve_remote(*models, limits=LIMITS, report=reported) as running:
        yield running


@pytest.fixture
def served(shared: Served, fakes: tuple[FakeOpenAI, FakeAnthropic], reported: Reported) -> Served:
    for fake in fakes:
        fake.reset()
        fake.default = "as_prompted"
    reported.reports.clear()
    return as_new(shared)


_numbers = itertools.count()


def ask(
    served: Served, model: str, prompt: str, *, key: str = KEY, path: str = "/v1/chat/completions", **fields: Any
) -> Answer:
    """Each request differs from all others."""
    text = f"{prompt}, request {next(_numbers)}"
    body = {name: _filled(value, text) for name, value in DIALECTS[path].items()}
    return served.post({"model": model, **body, **fields}, path, authorization=f"Bearer {key}")


def _filled(value: Any, text: str) -> Any:
    return text if value == "{}" else [{**one, "content": text} for one in value] if isinstance(value, list) else value


def assert_only_one_is_affected(served: Served, reported: Reported, model: str, other: str) -> None:
    """Other keys and other models get their answers, and the operator no alarm."""
    for key, name in ((OTHER_KEYS[0], model), (OTHER_KEYS[0], other), (KEY, other)):
        answer = ask(served, name, "hello", key=key)
        assert answer.status == 200, (key, name, answer)
    assert set(reported.states) <= {"closed"}


@pytest.mark.parametrize(("status", "shape"), _each(REFUSED, thorough=(402, 403, 451)))
def test_a_refusal_affects_no_other_request(served: Served, reported: Reported, status: int, shape: str) -> None:
    answers = [ask(served, GPT, f"please answer {status} {shape}") for _ in range(MANY)]
    assert {answer.status for answer in answers} == {status}
    if shape not in ("html", "empty", "cut"):
        assert PROMPTED.format(status, shape) in answers[0].json["error"]["message"]
    # Nor the same key and model.
    assert ask(served, GPT, "hello").status == 200
    assert_only_one_is_affected(served, reported, GPT, MINI)


@pytest.mark.parametrize(("status", "shape"), _each(FAILED, thorough=(500, 503)))
def test_a_server_error_affects_no_other_key_or_model(
    served: Served, reported: Reported, status: int, shape: str
) -> None:
    answers = [ask(served, GPT, f"please answer {status} {shape}") for _ in range(MANY)]
    assert {answer.code for answer in answers} == {"provider_error", "provider_unavailable"}
    assert_only_one_is_affected(served, reported, GPT, MINI)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("word", NONSENSE)
def test_nonsense_affects_no_other_key_or_model(
    served: Served, reported: Reported, monkeypatch: pytest.MonkeyPatch, word: str, stream: bool
) -> None:
    # Too long for the gateway to wait.
    monkeypatch.setattr(provider_faults, "RETRY_AFTER", "60")
    # At once, since some of them end by a time-out.
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda _: ask(served, GPT, f"please {word}", stream=stream), range(MANY)))
    assert_only_one_is_affected(served, reported, GPT, MINI)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("word", ["status_500", "overloaded_529", "bad_json", "cut_mid_stream", "close_before_headers"])
def test_so_do_failures_of_a_translated_provider(served: Served, reported: Reported, path: str, word: str) -> None:
    for stream in (False, True):
        for _ in range(MANY):
            ask(served, CLAUDE, f"please {word}", path=path, stream=stream)
    assert_only_one_is_affected(served, reported, CLAUDE, HAIKU)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    # Anthropic's API has no completions.
    ("path", "model"),
    sorted(set(itertools.product(DIALECTS, (GPT, CLAUDE))) - {("/v1/completions", CLAUDE)}),
)
@pytest.mark.parametrize("status", [402, 403, 404, 408, 409, 413, 418, 422, 451])
def test_a_refusal_arrives_in_every_dialect(
    served: Served, fakes: tuple[FakeOpenAI, FakeAnthropic], path: str, model: str, status: int, stream: bool
) -> None:
    said = _said(fakes, model, status)
    answer = ask(served, model, f"please answer {status} dialect", path=path, stream=stream)
    assert answer.status == status
    error = answer.json["error"]
    assert said["message"] in error["message"]
    assert error["code"] == said.get("code", said["type"])
    assert error["param"] == said.get("param")
    if path == "/v1/messages":
        # Its clients know a few types; the status decides if the provider has another one.
        assert answer.json["type"] == "error"
        assert error["type"] in (said["type"], ANTHROPIC_TYPES.get(status, "invalid_request_error"))
    else:
        assert error["type"] == said["type"]
        assert error["details"]["status"] == status


def _said(fakes: tuple[FakeOpenAI, FakeAnthropic], model: str, status: int) -> dict[str, Any]:
    message = PROMPTED.format(status, "dialect")
    refusal = Refusal(status, "prompt_refused", message, "prompt_refused", "messages")
    found: dict[str, Any] = fakes[model == CLAUDE].error(refusal)["error"]
    return found


ANTHROPIC_TYPES = {
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
}


def test_a_closed_connection_counts_once_for_each_key(served: Served, reported: Reported) -> None:
    """A provider that closes at one prompt is there for the others; one that closes for many keys is gone."""
    for key in OTHER_KEYS[: DEFAULT_POLICY.min_failures - 1]:
        ask(served, GPT, "please close_before_headers", key=key)
    assert reported.states == []
    ask(served, GPT, "please close_before_headers", key=OTHER_KEYS[DEFAULT_POLICY.min_failures])
    assert reported.states == ["open"]
    assert ask(served, MINI, "hello").code == "provider_unavailable"


def test_the_refusal_of_one_clients_stream_options_does_not_take_them_from_others(
    served: Served, fakes: tuple[FakeOpenAI, FakeAnthropic]
) -> None:
    """Usage would no longer be counted."""
    answer = ask(served, GPT, "please refuse_stream_options", stream=True)
    assert answer.status == 400
    ask(served, GPT, "hello", key=OTHER_KEYS[0], stream=True)
    assert fakes[0].requests[-1].body["stream_options"] == {"include_usage": True}
