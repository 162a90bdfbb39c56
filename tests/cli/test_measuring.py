"""noa profile, compare, keys, limits and providers."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest

from tests.cli.conftest import Noa
from tests.cli.fake_noa import FakeNoa, job, model

KEY = "llama.cpp:tide"
FIGURE = {"p50": 10.0, "ci": {"p50": [9.0, None]}}
STAGE = {
    "concurrency": 4,
    "requests": 3,
    "succeeded": 3,
    "output_throughput": 55.5,
    "ttft_ms": FIGURE,
    "tpot_ms": FIGURE,
    "e2el_ms": FIGURE,
    "prompt_tokens_per_second": FIGURE,
    "generation_tokens_per_second": {"p50": None, "ci": {"p50": [None, None]}},
}


def test_a_profile_shows_a_line_for_each_stage(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(KEY)]
    result: dict[str, Any] = {
        "profile": "p1",
        "summary": {"stages": [STAGE]},
        "comparison": {"verdict": "no_difference_shown"},
    }
    fake.jobs = deque([job("profile"), job("profile", "succeeded", result=result)])
    ended = noa("profile", KEY, "--concurrency", "1, 4", "--requests", "3")
    assert ended.code == 0, ended.err
    cells = ended.out.splitlines()[0].split("\t")
    assert cells[:3] == ["4", "3/3", "10 (9 to ?)"]
    assert cells[-2:] == ["-", "55.5"]
    assert "no difference shown" in ended.err
    (body,) = fake.bodies(f"/api/v1/models/{KEY}/profile")
    assert (body["concurrency"], body["requests"]) == ([1, 4], 3)


@pytest.mark.parametrize("words", [["--concurrency", "a"], ["--prompts", "/nonexistent"]])
def test_a_profile_refuses_what_it_cannot_read(fake: FakeNoa, noa: Noa, words: list[str]) -> None:
    fake.models = [model(KEY)]
    assert noa("profile", KEY, *words).code == 2


def test_compare_shows_a_verdict_for_each_figure(fake: FakeNoa, noa: Noa) -> None:
    contrast = {
        "concurrency": 1,
        "figure": "ttft_ms",
        "ratio": 1.3,
        "low": 1.2,
        "high": 1.4,
        "verdict": "worse",
    }
    comparison = {
        "run": "b",
        "baseline": "a",
        "verdict": "worse",
        "caution": ["Busy."],
        "contrasts": [contrast],
    }
    runs = [{"id": "a", "key": "p:x"}, {"id": "b", "key": "p:y"}]
    fake.answers["/api/v1/profiles/compare"] = (200, {"runs": runs, "comparisons": [comparison]})
    ended = noa("compare", "a", "b")
    assert ended.out == "p:y\t1\tttft_ms\t1.3\t1.2 to 1.4\tworse\n"
    assert "Busy." in ended.err


def test_limits_are_added_to_what_a_key_has(fake: FakeNoa, noa: Noa) -> None:
    key = {"key_id": "abc", "name": "shop", "limits": {"max_concurrent": 2}}
    fake.answers["/api/v1/api-keys/abc"] = (200, key)
    ended = noa("limits", "abc", "--requests-per-minute", "60")
    assert ended.out.splitlines() == ["key\tshop (abc)", "max_concurrent\t2"]
    changed = [body for method, _, body in fake.asked if method == "PATCH"]
    assert changed == [{"limits": {"max_concurrent": 2, "requests_per_minute": 60}}]
    assert noa("limits", "../x").code == 2


def test_keys_are_listed(fake: FakeNoa, noa: Noa) -> None:
    key: dict[str, Any] = {
        "key_id": "abc",
        "name": "shop",
        "state": "active",
        "scopes": ["infer"],
        "limits": {},
        "last_used_at": None,
    }
    fake.answers["/api/v1/api-keys"] = (200, {"api_keys": [key], "next": None})
    assert noa("keys").out == "abc\tshop\tactive\tinfer\t-\t-\n"
    assert json.loads(noa("keys", "--json").out) == [key]


def test_providers_are_listed_with_what_the_last_contact_met(fake: FakeNoa, noa: Noa) -> None:
    def provider(slug: str, name: str, **state: Any) -> dict[str, Any]:
        told = {"name": name, "at": None, "reason": "", "until": None} | state
        return {"slug": slug, "kind": "openai", "base_url": "https://a.example/v1", "state": told}

    found = [
        provider("new", "not_tried"),
        provider("bad", "key_refused", at="2026-12-01T09:00:00Z", reason="It refused the key."),
        provider("down", "paused", at="2026-12-01T09:00:00Z", until="2026-12-01T09:01:00Z"),
    ]
    fake.answers["/api/v1/providers"] = (200, {"providers": found})
    assert noa("providers").out.splitlines() == [
        "new\topenai\thttps://a.example/v1\tnot tried\t-\t-",
        "bad\topenai\thttps://a.example/v1\tkey refused\t2026-12-01T09:00:00Z\tIt refused the key.",
        "down\topenai\thttps://a.example/v1\tpaused until 2026-12-01T09:01:00Z\t2026-12-01T09:00:00Z\t-",
    ]
    assert json.loads(noa("providers", "--json").out) == found
