"""Export and import of the registry: the next export is identical, and a wrong entry changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from models_app.domain.catalog import registry_file
from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.scopes import Scope
from models_app.models import (
    Event,
    Instance,
    ModelVersion,
    Provider,
    RegisteredModel,
    Route,
    RouteChange,
)
from models_app.services.coordination import secrets
from models_app.services.registry import local_discovery, provider_settings
from models_app.services.routes import routing
from tests.api.conftest import Api
from tests.fakes.gguf_files import write_tiny_gguf

MakeModel = Callable[..., RegisteredModel]


@pytest.fixture
def full(admin: Api, make_model: MakeModel) -> None:
    """A registry with a value in every field."""
    Provider.objects.create(
        slug="openai",
        kind="openai",
        name="OpenAI",
        base_url="https://api.openai.com/v1",
        secret=secrets.seal("sk-very-secret"),
        timeouts={"connect": 2.5},
    )
    Provider.objects.create(slug="other", kind="anthropic", secret_env="OTHER_KEY", enabled=False)
    make_model("b")
    local = make_model("a")
    local.load_options = {"n_ctx": 512}
    local.save()
    answer = admin.post(
        "/models",
        {
            "key": "openai:gpt-4o",
            "description": "Line\nline \u00e9 \U0001f600",
            "capabilities": ["vision", "chat_completion"],
            "context_window": 128_000,
            "max_output_tokens": 16_384,
            "tags": ["b", "a"],
            "metadata": {"z": 1, "a": {"y": [1, 2.5, -0.1, None, True, "\u2028"], "b": {}}},
            "price": {"input": "2.50", "output": 10, "cached_input": 1.25},
        },
    )
    assert answer.status_code == 201, answer.content
    admin.patch("/models/llama.cpp:b", {"deprecated": True, "deprecation_note": "Use a."})
    route = routing.get()
    route.target, route.fallbacks = local, ["openai:gpt-4o"]
    route.save()
    Route.objects.create(name="main", description="For the app.")


def empty() -> None:
    Route.objects.all().delete()
    Instance.objects.all().delete()
    RegisteredModel.objects.all().delete()
    Provider.objects.all().delete()


def exported(api: Api) -> bytes:
    answer = api.get("/models/export")
    assert answer.status_code == 200
    assert "noa-registry.json" in answer["Content-Disposition"]
    return bytes(answer.content)


def without_time(document: bytes) -> bytes:
    head, _, rest = document.partition(b'"exported_at":"')
    return head + rest[rest.index(b'"') :]


@pytest.mark.usefixtures("full")
def test_a_round_trip_is_identical(admin: Api) -> None:
    first = exported(admin)
    empty()
    answer = admin.post("/models/import", first)
    assert answer.status_code == 200, answer.content
    report = answer.json()
    assert report["created"] == ["llama.cpp:a", "llama.cpp:b", "openai:gpt-4o"]
    assert report["providers"] == ["openai", "other"]
    assert report["routes"] == ["current", "main"]
    assert without_time(exported(admin)) == without_time(first)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_what_is_here_already_is_left_alone(admin: Api, mode: str) -> None:
    document = exported(admin)
    events, changes = Event.objects.count(), RouteChange.objects.count()
    answer = admin.post(f"/models/import?mode={mode}", document).json()
    assert answer == {
        "dry_run": False,
        "created": [],
        "updated": [],
        "unchanged": 3,
        "removed": [],
        "providers": [],
        "routes": [],
    }
    assert (Event.objects.count(), RouteChange.objects.count()) == (events, changes)
    assert secrets.unseal(Provider.objects.get(slug="openai").secret) == "sk-very-secret"


@pytest.mark.usefixtures("full")
def test_no_secret_leaves(admin: Api) -> None:
    document = exported(admin)
    assert b"sk-very-secret" not in document
    sealed = Provider.objects.get(slug="openai").secret
    assert sealed.encode() not in document


@pytest.mark.usefixtures("full")
def test_a_dry_run_says_all_and_does_nothing(admin: Api) -> None:
    document = orjson.loads(exported(admin))
    document["models"][0]["name"] = "Renamed"
    document["models"].append({"key": "openai:new"})
    del document["models"][1]
    events = Event.objects.count()
    path = "/models/import?mode=replace&dry_run=true"
    report = admin.post(path, document).json()
    assert report["dry_run"] is True
    assert (report["created"], report["updated"]) == (["openai:new"], ["llama.cpp:a"])
    assert report["removed"] == ["llama.cpp:b"]
    assert not RegisteredModel.objects.filter(name="Renamed").exists()
    assert RegisteredModel.objects.count() == 3
    assert Event.objects.count() == events
    done = admin.post("/models/import?mode=replace", document).json()
    assert done == report | {"dry_run": False}
    assert set(RegisteredModel.objects.values_list("key", flat=True)) == {
        "llama.cpp:a",
        "openai:gpt-4o",
        "openai:new",
    }


@pytest.mark.usefixtures("full")
def test_each_change_is_an_event_with_its_cause(admin: Api) -> None:
    document = orjson.loads(exported(admin))
    document["models"][0]["name"] = "Renamed"
    document["models"][1]["deprecated"] = False
    document["models"][2] = {"key": "openai:new"}
    document["providers"][1]["name"] = "Open"
    document["routes"] = [{"name": "current", "target": "llama.cpp:a"}]
    Event.objects.all().delete()
    assert admin.post("/models/import?mode=replace", document).status_code == 200
    published = set(Event.objects.values_list("name", "subject", "cause"))
    assert published >= {
        ("model-updated", "llama.cpp:a", "import"),
        ("model-updated", "llama.cpp:b", "import"),
        ("model-registered", "openai:new", "import"),
        ("provider-changed", "openai", "import"),
        ("model-deregistered", "openai:gpt-4o", "import"),
        ("route-changed", "current", "import"),
        ("route-deleted", "main", "import"),
    }
    assert set(Event.objects.values_list("actor", flat=True)) == {"key:test"}


@pytest.mark.usefixtures("full")
def test_fields_that_an_entry_does_not_name_stay(admin: Api) -> None:
    document = {"format": "noa-registry", "version": 1, "models": [{"key": "openai:gpt-4o"}]}
    assert admin.post("/models/import", document).json()["unchanged"] == 1
    assert admin.get("/models/openai:gpt-4o").json()["tags"] == ["b", "a"]


def test_a_local_model_is_read_again_before_it_is_loaded(admin: Api, tmp_path: Path, settings: Any) -> None:
    settings.NOA_MODEL_ROOTS = [tmp_path]
    path = write_tiny_gguf(tmp_path / "a.gguf")
    admin.post("/models", {"key": "llama.cpp:a", "path": str(path)})
    document = exported(admin)
    empty()
    admin.post("/models/import", document)
    version = ModelVersion.objects.get()
    assert (version.header, version.file_mtime_ns) == ({}, 0)
    model = RegisteredModel.objects.select_related("version").get()
    fresh = local_discovery.fresh_version(model=model)
    assert fresh.header["context_length"] == 2048
    assert fresh.pk == version.pk


# Refusals

LINE = {"key": "openai:a"}
DOCUMENT: dict[str, Any] = {
    "format": "noa-registry",
    "version": 1,
    "providers": [{"slug": "openai", "kind": "openai"}],
    "models": [{"key": "openai:a"}, {"key": "openai:b"}],
    "routes": [{"name": "main", "target": "openai:a"}],
}


@pytest.mark.parametrize(
    ("place", "value", "status", "param"),
    [
        (["format"], "other", 400, "format"),
        (["version"], 2, 400, "format"),
        (["version"], True, 400, "format"),
        (["models"], {}, 400, "models"),
        (["models"], [1], 400, "models[0]"),
        (["surplus"], 1, 400, "surplus"),
        (["models", 1], {}, 400, "models[1].key"),
        (["models", 1], {"key": "b"}, 400, "models[1].key"),
        (["models", 1], {"key": "openai:a"}, 400, "models[1]"),
        (["models", 1], {"key": "nobody:a"}, 404, "models[1].provider"),
        (["models", 1, "price"], {"input": 1}, 400, "models[1].price"),
        (["models", 1, "tags"], ["a", ","], 400, "models[1].tags[1]"),
        (["models", 1, "load_options"], {"slots": 1}, 400, "models[1].load_options"),
        (["models", 1, "path"], "/x", 400, "models[1].path"),
        (["models", 1, "file"], {"path": "/x"}, 400, "models[1].file.sha256"),
        (["models", 1, "access_count"], 7, 400, "models[1].access_count"),
        (["providers", 0, "kind"], "cohere", 400, "providers[0].kind"),
        (["providers", 0, "slug"], "loaded", 400, "providers[0].slug"),
        (["providers", 0, "secret"], "x", 400, "providers[0].secret"),
        (["providers", 0, "secret_env"], "NOA_SECRET_KEY", 400, "providers[0].secret_env"),
        (["providers", 0, "base_url"], "http://169.254.169.254/", 400, "providers[0].base_url"),
        (["providers", 0, "base_url"], "file:///etc/passwd", 400, "providers[0].base_url"),
        (["providers", 0, "timeouts"], {"total": -1}, 400, "providers[0].timeouts.total"),
        (["routes", 0, "target"], "openai:c", 400, "routes[0].target"),
        (["routes", 0, "fallbacks"], ["openai:c"], 400, "routes[0].fallbacks"),
        (["routes", 0, "fallbacks"], [7], 400, "routes[0].fallbacks"),
        (["routes", 0, "name"], "Main Route", 400, "routes[0].name"),
        (["routes", 0, "weight"], 1, 400, "routes[0].weight"),
    ],
)
def test_a_wrong_entry_refuses_all_and_is_named(
    admin: Api, place: list[Any], value: Any, status: int, param: str
) -> None:
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    answer = admin.post("/models/import", document)
    assert answer.status_code == status, answer.content
    assert answer.json()["error"]["param"] == param
    assert not RegisteredModel.objects.exists()
    assert not Route.objects.exists()
    assert not Provider.objects.filter(slug="openai").exists()


@pytest.mark.parametrize("query", ["mode=append", "mode=", "dry_run=1", "force=true", "dry_run=yes"])
def test_a_wrong_parameter_is_refused(admin: Api, query: str) -> None:
    assert admin.post(f"/models/import?{query}", DOCUMENT).status_code == 400
    assert not RegisteredModel.objects.exists()


def test_a_route_that_answers_is_not_moved_to_a_model_that_does_not(admin: Api, make_model: MakeModel) -> None:
    loaded, other = make_model("loaded"), make_model("other")
    Instance.objects.create(model=loaded, node="local", state="ready")
    route = Route.objects.create(name="main", target=loaded)
    document = DOCUMENT | {"models": [], "routes": [{"name": "main", "target": other.key}]}
    answer = admin.post("/models/import", document)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_not_loaded")
    assert answer.json()["error"]["param"] == "routes[0].target"
    route.refresh_from_db()
    assert route.target == loaded


def test_a_model_in_use_is_not_replaced_away(admin: Api, make_model: MakeModel) -> None:
    Instance.objects.create(model=make_model("loaded"), node="local", state="ready")
    answer = admin.post("/models/import?mode=replace", DOCUMENT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_in_use")
    assert RegisteredModel.objects.count() == 1


def test_a_secret_is_not_sent_to_another_address(admin: Api) -> None:
    provider_settings.add(
        slug="openai",
        settings=ProviderSettings(
            kind=ProviderKind.OPENAI,
            api_key=SecretStr("sk-secret-of-ours"),
        ),
        actor="test",
    )
    document = copy.deepcopy(DOCUMENT)
    document["providers"][0]["base_url"] = "https://thief.example.com/v1"
    answer = admin.post("/models/import", document)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "secret_needed")


def test_only_an_administrator_imports(api: Callable[..., Api]) -> None:
    assert api(Scope.OPERATE).post("/models/import", DOCUMENT).status_code == 403
    assert api(Scope.READ).get("/models/export").status_code == 200


def test_ten_thousand_models_go_out_and_in(admin: Api) -> None:
    lines = [{"key": f"openai:m{number}", "tags": ["x"], "metadata": {"number": number}} for number in range(10_000)]
    answer = admin.post("/models/import", DOCUMENT | {"models": lines, "routes": []})
    assert answer.status_code == 200, answer.content
    assert len(answer.json()["created"]) == 10_000
    assert Event.objects.filter(name="model-registered").count() == 10_000
    document = orjson.loads(exported(admin))
    assert len(document["models"]) == 10_000
    too_many = DOCUMENT | {"models": [LINE] * (registry_file.MAX_MODELS + 1)}
    assert admin.post("/models/import", too_many).json()["error"]["param"] == "models"
