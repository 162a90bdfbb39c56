"""POST /models: one or many, new or known, all or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models_app.models import CapabilityEvidence, Event, Provider, RegisteredModel, RoutingRevision
from tests.api.conftest import Api
from tests.fakes.gguf_files import write_tiny_gguf

MakeModel = Callable[..., RegisteredModel]

WHOLE = {
    "key": "openai:gpt-4o",
    "name": "GPT-4o",
    "description": "Good at\nmany things.",
    "capabilities": ["vision", "chat_completion"],
    "context_window": 128_000,
    "max_output_tokens": 16_384,
    "tags": ["Flagship", "eu "],
    "metadata": {"owner": {"team": "search"}, "n": [1, 2.5, None, True]},
    "price": {"input": 2.5, "output": "10.00", "cached_input": 1.25},
    "deprecated": False,
    "deprecation_note": "",
}


@pytest.fixture(autouse=True)
def openai(db: None) -> Provider:
    return Provider.objects.create(slug="openai", kind="openai")


def events() -> list[tuple[str, str]]:
    published = Event.objects.filter(name__startswith="model-").order_by("pk")
    return list(published.values_list("name", "subject"))


def test_a_model_is_registered_with_all_that_is_said_of_it(admin: Api) -> None:
    answer = admin.post("/models", WHOLE)
    assert answer.status_code == 201
    assert answer["Location"] == "/api/v1/models/openai:gpt-4o"
    body = answer.json()
    assert (body["created"], body["updated"]) == (1, 0)
    model = body["models"][0]
    expected = WHOLE | {
        "capabilities": ["chat_completion", "vision"],
        "tags": ["flagship", "eu"],
        "price": {
            "input": 2.5,
            "output": 10.0,
            "cached_input": 1.25,
            "cache_write": None,
            "source": "operator",
        },
        "access_count": 0,
        "status": "available",
    }
    assert {name: model[name] for name in expected} == expected
    assert admin.get(answer["Location"].removeprefix("/api/v1")).json()["key"] == "openai:gpt-4o"
    assert events() == [("model-registered", "openai:gpt-4o")]
    assert Event.objects.get(name="model-registered").actor == "key:test"


def test_what_is_declared_is_evidence(admin: Api) -> None:
    admin.post("/models", WHOLE)
    sources = set(CapabilityEvidence.objects.values_list("capability", "source"))
    assert sources == {("vision", "declared"), ("chat_completion", "declared")}


def test_provider_and_model_name_it_too_and_its_name_is_its_id(admin: Api) -> None:
    answer = admin.post("/models", {"provider": "openai", "model": "org/m:1"}).json()
    assert (answer["models"][0]["key"], answer["models"][0]["name"]) == (
        "openai:org/m:1",
        "org/m:1",
    )


def test_a_known_key_is_updated_in_place(admin: Api) -> None:
    first = admin.post("/models", WHOLE).json()["models"][0]
    RegisteredModel.objects.update(access_count=7)
    answer = admin.post("/models", {"key": "openai:gpt-4o", "name": "Other"})
    assert (answer.status_code, "Location" in answer) == (200, False)
    second = answer.json()["models"][0]
    assert (second["name"], second["access_count"]) == ("Other", 7)
    assert second["created_at"] == first["created_at"]
    assert second["tags"] == first["tags"]
    update = Event.objects.get(name="model-updated")
    assert (update.before, update.after) == ({"name": "GPT-4o"}, {"name": "Other"})


def test_the_same_again_changes_nothing(admin: Api) -> None:
    admin.post("/models", WHOLE)
    before = RegisteredModel.objects.values("updated_at").get()
    assert admin.post("/models", WHOLE).status_code == 200
    assert RegisteredModel.objects.values("updated_at").get() == before
    assert events() == [("model-registered", "openai:gpt-4o")]


def test_many_are_registered_at_once(admin: Api) -> None:
    admin.post("/models", {"key": "openai:m1"})
    keys = [f"openai:m{number}" for number in range(3)]
    answer = admin.post("/models", {"models": [{"key": key} for key in keys]})
    assert answer.status_code == 201
    assert (answer.json()["created"], answer.json()["updated"]) == (2, 1)
    assert [model["key"] for model in answer.json()["models"]] == keys


@pytest.mark.parametrize(
    ("wrong", "status", "param"),
    [
        ({"key": "openai:b", "context_window": "8k"}, 400, "models[1].context_window"),
        ({"key": "openai:a"}, 400, "models[1].key"),
        ({"key": "nobody:b"}, 404, "models[1].provider"),
        ({"key": "openai:b", "path": "/tmp/x.gguf"}, 400, "models[1].path"),
        ({"key": "openai:b", "load_options": {"slots": 1}}, 400, "models[1].load_options"),
        ({"key": "llama.cpp:b"}, 400, "models[1].path"),
        ({"key": "llama.cpp:b", "path": "/etc/passwd"}, 422, "models[1].path"),
        ({"key": "openai:b", "prize": 1}, 400, "models[1].prize"),
        ("openai:b", 400, "models[1]"),
    ],
)
def test_one_wrong_entry_refuses_all_and_is_named(admin: Api, wrong: Any, status: int, param: str) -> None:
    answer = admin.post("/models", {"models": [{"key": "openai:a"}, wrong]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert "models[1]" in error["message"]
    assert not RegisteredModel.objects.exists()
    assert events() == []


def test_registering_moves_the_routing_revision(admin: Api) -> None:
    before = RoutingRevision.objects.get().revision
    admin.post("/models", WHOLE)
    assert RoutingRevision.objects.get().revision > before


# Local models


def test_a_file_is_read_as_discovery_reads_it(admin: Api, models_dir: Path) -> None:
    path = write_tiny_gguf(models_dir / "some.gguf", name="Tiny")
    answer = admin.post("/models", {"key": "llama.cpp:mine", "path": str(path), "load_options": {"n_ctx": 512}})
    assert answer.status_code == 201, answer.content
    model = answer.json()["models"][0]
    assert (model["name"], model["context_window"]) == ("Tiny", 2048)
    assert model["load_options"] == {"n_ctx": 512}
    assert model["version"]["path"] == str(path)
    assert "chat_completion" in model["capabilities"]


def test_another_file_under_the_same_key_is_an_event(admin: Api, models_dir: Path) -> None:
    for seed in (0, 1):
        path = write_tiny_gguf(models_dir / f"{seed}.gguf", seed=seed)
        admin.post("/models", {"key": "llama.cpp:mine", "path": str(path)})
    update = Event.objects.get(name="model-updated")
    assert update.after["path"].endswith("1.gguf")
    versions = admin.get("/models/llama.cpp:mine/versions").json()["versions"]
    assert [version["current"] for version in versions] == [True, False]


@pytest.mark.parametrize("name", ["fifo", "folder", "outside", "missing", "text", "link"])
def test_what_is_no_model_file_is_refused(admin: Api, models_dir: Path, tmp_path: Path, name: str) -> None:
    outside = write_tiny_gguf(tmp_path / "outside.gguf")
    os.mkfifo(models_dir / "fifo")
    (models_dir / "folder").mkdir()
    (models_dir / "text").write_text("no model")
    (models_dir / "link").symlink_to(outside)
    path = outside if name == "outside" else models_dir / name
    answer = admin.post("/models", {"key": "llama.cpp:x", "path": str(path)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "path")
    assert not RegisteredModel.objects.exists()


# Refusals

KEYS: list[tuple[Any, str]] = [
    ("", "invalid_key"),
    ("gpt-4o", "invalid_key"),
    (":a", "invalid_provider"),
    ("openai:", "invalid_model_id"),
    ("Openai:a", "invalid_provider"),
    ("open ai:a", "invalid_provider"),
    ("openai: a", "invalid_model_id"),
    ("openai:../etc", "invalid_model_id"),
    ("openai:a//b", "invalid_model_id"),
    ("openai:caf\u00e9", "invalid_model_id"),
    ("openai:cafe\u0301", "invalid_model_id"),
    ("openai:a\nb", "invalid_model_id"),
    ("openai:\u202egpt", "invalid_model_id"),
    ("openai:gpt\u200b", "invalid_model_id"),
    ("\u043epenai:a", "invalid_provider"),
    ("openai:" + "a" * 300, "invalid_model_id"),
    ("openai:a/capabilities", "invalid_model_id"),
    ("openai:a/tags", "invalid_model_id"),
    ("loaded:a", "invalid_provider"),
    ("statistics:a", "invalid_provider"),
    ("current:a", "invalid_provider"),
    ("load:a", "invalid_provider"),
    ("export:a", "invalid_provider"),
    ("import:a", "invalid_provider"),
    ("models:a", "invalid_provider"),
    ("save-state:a", "invalid_provider"),
    ("openai%3Aa", "invalid_key"),
    (7, "invalid_request"),
    (None, "invalid_request"),
    (["openai:a"], "invalid_request"),
]


@pytest.mark.parametrize(("key", "code"), KEYS, ids=lambda value: ascii(value)[:30])
def test_a_key_that_cannot_be_one_is_refused(admin: Api, key: Any, code: str) -> None:
    answer = admin.post("/models", {"key": key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert answer.json()["error"]["param"] == "key"
    assert not RegisteredModel.objects.exists()


BODIES: list[bytes] = [
    b"",
    b"null",
    b"1",
    b"[]",
    b'"x"',
    b"{",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"key": "\xff"}',
    b'{"key": NaN}',
    b'{"key": "openai:a", "context_window": 1e400}',
    b'{"key": "openai:a"} x',
    b'{"key":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"metadata":' + b'{"a":' * 65 + b"1" + b"}" * 66,
    b'{"key": "openai:a\\u0000b"}',
    b'{"key": "openai:\\ud800"}',
    b'{"key": "openai:a", "name": "\\udfff"}',
    b'{"models": []}',
    b'{"models": {}}',
    b'{"models": null}',
    b'{"models": [null]}',
    b'{"models": [[]]}',
    b'{"models": [{"key": "openai:a"}], "key": "openai:b"}',
    b'{"' + b"k" * 1_000_000 + b'": 1}',
    b'{"models": [' + b'{"key": "openai:a"},' * 1_000 + b'{"key": "openai:a"}]}',
    b"{" + b",".join(b'"k%d": 1' % number for number in range(100_000)) + b"}",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body)[:30])
def test_a_body_that_cannot_be_meant_is_refused(admin: Api, body: bytes) -> None:
    answer = admin.post("/models", body)
    assert answer.status_code == 400, answer.content
    assert len(answer.content) < 2_000
    assert not RegisteredModel.objects.exists()
    assert admin.post("/models", {"key": "openai:good"}).status_code == 201


def test_an_unknown_parameter_is_refused(admin: Api) -> None:
    answer = admin.post("/models?dry_run=true", {"key": "openai:a"})
    assert answer.json()["error"]["code"] == "unknown_parameter"
    assert not RegisteredModel.objects.exists()


def test_two_at_once_make_one_model(admin: Api) -> None:
    answers = [admin.post("/models", {"key": "openai:a"}).status_code for _ in range(2)]
    assert answers == [201, 200]
    assert RegisteredModel.objects.count() == 1
