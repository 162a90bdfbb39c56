"""GET /models, /models/{provider}, /models/{key}, /models/loaded, /models/current."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from models_app.models import RegisteredModel
from models_app.services import routing
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]


def test_it_lists_models(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    make_model("b")
    answer = admin.get("/models").json()
    assert answer["count"] == 2
    assert [model["key"] for model in answer["models"]] == ["llama.cpp:a", "llama.cpp:b"]
    assert answer["models"][0] | {"version": None, "created_at": None, "updated_at": None} == {
        "key": "llama.cpp:a",
        "provider": "llama.cpp",
        "model_id": "a",
        "name": "A",
        "description": "",
        "status": "available",
        "failure": None,
        "deprecated": False,
        "wanted": False,
        "capabilities": ["text_generation", "chat_completion"],
        "context_window": 2048,
        "max_output_tokens": None,
        "load_options": {},
        "tags": [],
        "metadata": {},
        "version": None,
        "created_at": None,
        "updated_at": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("provider=llama.cpp", ["a", "b"]),
        ("provider=openai", []),
        ("capability=chat_completion&capability=text_generation", ["a", "b"]),
        ("capability=embeddings", []),
        ("status=loaded", ["b"]),
        ("q=B", ["b"]),
        ("q=%25", []),
        ("page_size=1&page=2", ["b"]),
    ],
)
def test_it_filters(admin: Api, make_model: MakeModel, query: str, expected: list[str]) -> None:
    make_model("a")
    make_model("b", status="loaded")
    found = admin.get(f"/models?{query}").json()["models"]
    assert [model["model_id"] for model in found] == expected


@pytest.mark.parametrize(
    "query", ["status=sleeping", "capability=juggling", "page=0", "page=-1", "page=x", "page=9999"]
)
def test_it_refuses_a_filter_that_cannot_be(admin: Api, query: str) -> None:
    answer = admin.get(f"/models?{query}")
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]


def test_the_number_of_queries_does_not_grow_with_the_list(
    admin: Api, make_model: MakeModel
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin.get("/models?page_size=500")
        return len(queries)

    make_model("one")
    few = count()
    for number in range(100):
        make_model(f"m{number}")
    assert count() == few <= 3


@pytest.mark.parametrize("key", ["llama.cpp:a", "llama.cpp%3Aa", "llama.cpp:Org/model:8b.gguf"])
def test_it_reads_a_model_by_its_key(admin: Api, make_model: MakeModel, key: str) -> None:
    make_model("a")
    make_model("Org/model:8b.gguf")
    answer = admin.get(f"/models/{key}")
    assert answer.status_code == 200
    assert answer.json()["key"] == key.replace("%3A", ":")


@pytest.mark.parametrize("key", ["llama.cpp:none", "openai:gpt-4o", "llama.cpp:a/capabilities"])
def test_an_unknown_key_is_not_found(admin: Api, make_model: MakeModel, key: str) -> None:
    make_model("a")
    answer = admin.get(f"/models/{key}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("key", ["llama.cpp:../etc", "LLAMA:a", "llama.cpp:a%00b", "llama.cpp: a"])
def test_a_malformed_key_is_refused(admin: Api, key: str) -> None:
    answer = admin.get(f"/models/{key}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("invalid_model_id", "invalid_provider")


def test_it_lists_the_models_of_a_provider(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    assert admin.get("/models/llama.cpp").json()["count"] == 1
    answer = admin.get("/models/nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "provider_not_found")


def test_current_is_nothing_at_first(admin: Api) -> None:
    assert admin.get("/models/current").json() == {"route": "current", "model": None}


def test_current_is_what_the_route_leads_to(admin: Api, make_model: MakeModel) -> None:
    route = routing.get()
    route.target = make_model("a")
    route.save()
    assert admin.get("/models/current").json()["model"]["key"] == "llama.cpp:a"
    assert admin.get("/models/loaded").json() == {
        "count": 0,
        "current_model": "llama.cpp:a",
        "instances": [],
    }
