"""Providers over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.models import AuditEntry, Provider
from models_app.services.catalog import lookup
from tests.api.conftest import Api
from tests.fakes.openai_server import FakeOpenAI

KEY = "sk-canary-1234567890"
OPENAI = {"slug": "openai", "kind": "openai", "api_key": KEY}


@pytest.fixture
def openai(fake_openai: FakeOpenAI) -> FakeOpenAI:
    return fake_openai


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_provider_is_added_read_changed_and_removed(admin: Api) -> None:
    made = admin.post("/providers", OPENAI)
    assert made.status_code == 201, made.content
    assert made["Location"] == "/api/v1/providers/openai"
    assert made.json() | {"created_at": None, "updated_at": None} == {
        "slug": "openai",
        "kind": "openai",
        "name": "",
        "base_url": "https://api.openai.com/v1",
        "is_remote": True,
        "enabled": True,
        "has_secret": True,
        "secret_source": "stored",
        "secret_env": None,
        "allow_private_addresses": False,
        "timeouts": {"connect": None, "first_byte": None, "idle": None, "total": None},
        "origin": "api",
        "state": {"name": "not_tried", "at": None, "reason": "", "until": None},
        "circuit": {"state": "closed", "reason": "", "changed_at": None},
        "discovered_at": None,
        "discovery_error": None,
        "created_at": None,
        "updated_at": None,
    }
    changed = admin.patch("/providers/openai", {"timeouts": {"connect": 5}, "name": "Ours"})
    assert (changed.json()["name"], changed.json()["timeouts"]["connect"]) == ("Ours", 5.0)
    assert admin.patch("/providers/openai", {"api_key": None}).json()["has_secret"] is False
    assert admin.delete("/providers/openai").status_code == 204
    assert code(admin.get("/providers/openai")) == (404, "provider_not_found")


def test_all_are_listed_and_claude_is_anthropic(admin: Api) -> None:
    lookup.local_provider()
    admin.post("/providers", {"slug": "claude", "kind": "anthropic", "secret_env": "CLAUDE_KEY"})
    listed = admin.get("/providers").json()["providers"]
    assert [one["slug"] for one in listed] == ["anthropic", "llama.cpp"]
    assert (listed[0]["secret_source"], listed[0]["secret_env"]) == ("environment", "CLAUDE_KEY")
    assert (listed[1]["base_url"], listed[1]["is_remote"]) == (None, False)
    assert admin.get("/providers/claude").json()["slug"] == "anthropic"


def test_no_answer_and_no_audit_row_holds_the_key(admin: Api) -> None:
    answers = [
        admin.post("/providers", OPENAI),
        admin.post("/providers", OPENAI),
        admin.post("/providers", OPENAI | {"slug": "b", "api_key": f"{KEY}\n"}),
        admin.post("/providers", OPENAI | {"slug": "c", "secret_env": "TEAM_KEY"}),
        admin.post("/providers", OPENAI | {"slug": "d", "kind": "smtp"}),
        admin.patch("/providers/openai", {"api_key": f"{KEY}-2"}),
        admin.get("/providers"),
        admin.get("/events"),
        admin.get("/audit"),
    ]
    assert [answer.status_code for answer in answers] == [
        201,
        409,
        400,
        400,
        400,
        200,
        200,
        200,
        200,
    ]
    assert not any(KEY in answer.content.decode() for answer in answers)
    assert AuditEntry.objects.count() == 6
    assert KEY not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "openai"}, "slug"),
        ({"slug": "a"}, "kind"),
        ({"slug": "a", "kind": "openai", "apikey": KEY}, "apikey"),
        ({"slug": "a:b", "kind": "openai"}, "provider"),
        ({"slug": "a", "kind": "openai", "base_url": "localhost"}, "base_url"),
        ({"slug": "a", "kind": "openai", "base_url": "http://10.1.2.3/v1"}, "base_url"),
        ({"slug": "a", "kind": "openai", "timeouts": {"connect": 1e9}}, "timeouts"),
        ({"slug": "a", "kind": "openai", "timeouts": {"x": 1}}, "x"),
        ({"slug": "a", "kind": "openai", "secret_env": "NOA_SECRET_KEY"}, "secret_env"),
        ({"slug": "a", "kind": "openai", "api_key": 7.5}, None),
    ],
)
def test_wrong_bodies_are_refused(admin: Api, body: dict[str, Any], param: str | None) -> None:
    answer = admin.post("/providers", body)
    if param is not None:
        assert answer.status_code == 400, answer.content
        assert answer.json()["error"]["param"].startswith(param)


def test_readers_may_read_and_only_administrators_change(api: Callable[..., Api]) -> None:
    lookup.local_provider()
    reader, operator = api("read"), api("operate")
    assert reader.get("/providers").status_code == 200
    assert code(operator.post("/providers", OPENAI)) == (403, "permission_denied")
    assert operator.patch("/providers/llama.cpp", {"name": "x"}).status_code == 403
    assert operator.delete("/providers/llama.cpp").status_code == 403
    assert operator.post("/providers/llama.cpp/test").status_code == 403


def test_a_test_says_what_the_provider_said(admin: Api, openai: FakeOpenAI) -> None:
    admin.post(
        "/providers",
        OPENAI | {"base_url": openai.base_url, "allow_private_addresses": True},
    )
    refused = admin.post("/providers/openai/test").json()
    assert (refused["ok"], refused["code"], refused["models"]) == (
        False,
        "provider_auth_failed",
        None,
    )
    assert "Incorrect API key provided" in refused["message"]
    admin.patch("/providers/openai", {"api_key": openai.key})
    good = admin.post("/providers/openai/test").json()
    assert (good["ok"], good["code"], good["models"]) == (True, None, 5)
    assert good["seconds"] >= 0


def test_a_test_of_an_address_that_is_not_allowed_says_so(admin: Api, openai: FakeOpenAI) -> None:
    url = openai.base_url.replace("127.0.0.1", "localhost")
    admin.post("/providers", OPENAI | {"base_url": url})
    answer = admin.post("/providers/openai/test").json()
    assert (answer["ok"], answer["code"]) == (False, "address_not_allowed")
    assert openai.requests == []


def test_the_files_of_this_machine_pass_every_test(admin: Api) -> None:
    lookup.local_provider()
    assert admin.post("/providers/llama.cpp/test").json()["ok"] is True


def test_discovery_of_one_provider_is_a_job_of_its_own(admin: Api) -> None:
    admin.post("/providers", OPENAI)
    answer = admin.post("/models/discover", {"provider": "openai"})
    assert (answer.status_code, answer.json()["subject"]) == (202, "openai")
    assert admin.post("/models/discover").json()["subject"] == ""
    assert code(admin.post("/models/discover", {"provider": "x"})) == (404, "provider_not_found")
    Provider.objects.filter(slug="openai").update(enabled=False)
    refused = admin.post("/models/discover", {"provider": "openai"})
    assert code(refused) == (409, "provider_disabled")


def test_a_price_with_tiers_is_read_written_exported_and_taken_in_again(admin: Api) -> None:
    admin.post("/providers", OPENAI)
    price = {
        "input": 3.0,
        "output": 15.0,
        "cached_input": 0.3,
        "cache_write": None,
        "source": "operator",
        "tiers": [{"input": 6.0, "output": 22.5, "cached_input": None, "cache_write": None, "above": 200_000}],
    }
    made = admin.post("/models", {"provider": "openai", "model": "gpt-4o", "price": price})
    assert made.status_code == 201, made.content
    assert admin.get("/models/openai:gpt-4o").json()["price"] == price
    exported = admin.get("/models/export").json()
    taken = admin.post("/models/import?mode=replace", exported)
    assert taken.status_code == 200, taken.content
    assert admin.get("/models/openai:gpt-4o").json()["price"] == price
    price["tiers"][0]["above"] = 0  # type: ignore[index]
    refused = admin.patch("/models/openai:gpt-4o", {"price": price})
    assert refused.json()["error"]["param"] == "price.tiers[0].above"
