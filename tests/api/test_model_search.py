"""GET /models: every filter, alone and combined, every order, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from models_app.models import ModelVersion, Provider, RegisteredModel
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]


@pytest.fixture
def shelf(make_model: MakeModel) -> None:
    """Three local models and two remote ones that differ in everything that can be searched."""
    for number, name in enumerate(["alpha", "beta_1", "gamma%"]):
        model = make_model(f"m{number}", status="loaded" if number == 1 else "available")
        model.name = name
        model.description = f"Text of {name.title()}"
        model.context_window = 1024 << number
        model.set_tags([f"t{number}", "local"])
        model.access_count = number
        model.save()
        assert model.version is not None
        ModelVersion.objects.filter(pk=model.version_id or 0).update(
            size_bytes=1000 * (number + 1), architecture="llama" if number else "bert"
        )
    openai = Provider.objects.create(slug="openai", kind="openai")
    for name, window in [("gpt-4", 8192), ("embedder", None)]:
        model = RegisteredModel(provider=openai, model_id=name, key=f"openai:{name}", context_window=window)
        model.capabilities = ["embeddings"] if window is None else ["chat_completion", "vision"]
        model.proven_index = "" if window is None else ",vision,"
        model.deprecated = window is None
        model.gone_at = None if window else datetime(2026, 1, 1, tzinfo=UTC)
        model.save()


LOCAL = ["m0", "m1", "m2"]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [*LOCAL, "embedder", "gpt-4"]),
        ("provider=llama.cpp", LOCAL),
        ("provider=openai", ["embedder", "gpt-4"]),
        ("provider=claude", []),
        ("capability=chat_completion", [*LOCAL, "gpt-4"]),
        ("capability=chat_completion&capability=vision", ["gpt-4"]),
        ("capability=embeddings&capability=vision", []),
        ("capability=vision&proven=true", ["gpt-4"]),
        ("capability=chat_completion&proven=true", []),
        ("proven=true", ["gpt-4"]),
        ("proven=false", [*LOCAL, "embedder", "gpt-4"]),
        ("status=loaded", ["m1"]),
        ("status=loaded&status=available", [*LOCAL, "embedder", "gpt-4"]),
        ("tag=local", LOCAL),
        ("tag=T1", ["m1"]),
        ("tag=t0&tag=t2", ["m0", "m2"]),
        ("tag=t", []),
        ("deprecated=true", ["embedder"]),
        ("deprecated=false", [*LOCAL, "gpt-4"]),
        ("gone=true", ["embedder"]),
        ("gone=false", [*LOCAL, "gpt-4"]),
        ("min_context_window=2048", ["m1", "m2", "gpt-4"]),
        ("max_context_window=2048", ["m0", "m1"]),
        ("min_context_window=2048&max_context_window=2048", ["m1"]),
        ("min_size_bytes=2000", ["m1", "m2"]),
        ("max_size_bytes=2000", ["m0", "m1"]),
        ("quantization=q8_0", LOCAL),
        ("quantization=Q8", []),
        ("architecture=BERT", ["m0"]),
        ("name=BETA", ["m1"]),
        ("name=text", []),
        ("q=text", LOCAL),
        ("q=TEXT+OF+A", ["m0"]),
        ("q=openai:gpt", ["gpt-4"]),
        ("q=%25", ["m2"]),
        ("q=_", ["m1"]),
        ("q=.*", []),
        ("q=", [*LOCAL, "embedder", "gpt-4"]),
        ("q=%5C", []),
        (
            "provider=llama.cpp&capability=chat_completion&status=loaded&tag=local&min_context_window=1&q=beta"
            "&deprecated=false&gone=false&quantization=Q8_0&min_size_bytes=1&name=b",
            ["m1"],
        ),
    ],
)
def test_it_finds(admin: Api, query: str, expected: list[str]) -> None:
    answer = admin.get(f"/models?{query}").json()
    assert [model["model_id"] for model in answer["models"]] == expected
    assert answer["count"] == len(expected)


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("-key", ["gpt-4", "embedder", "m2", "m1", "m0"]),
        ("context_window", ["m0", "m1", "m2", "gpt-4", "embedder"]),
        ("-context_window", ["gpt-4", "m2", "m1", "m0", "embedder"]),
        ("size_bytes", ["m0", "m1", "m2", "embedder", "gpt-4"]),
        ("-size_bytes", ["m2", "m1", "m0", "embedder", "gpt-4"]),
        ("-access_count", ["m2", "m1", "m0", "embedder", "gpt-4"]),
        ("created_at", ["m0", "m1", "m2", "gpt-4", "embedder"]),
        ("-updated_at", ["embedder", "gpt-4", "m2", "m1", "m0"]),
        ("-name", ["m2", "m1", "m0", "embedder", "gpt-4"]),
        ("last_accessed_at", [*LOCAL, "embedder", "gpt-4"]),
    ],
)
def test_it_orders_and_puts_what_is_unknown_last(admin: Api, ordering: str, expected: list[str]) -> None:
    found = admin.get(f"/models?ordering={ordering}").json()["models"]
    assert [model["model_id"] for model in found] == expected


WRONG = [
    "page=0",
    "page=-1",
    "page=1000000000",
    "page=NaN",
    "page=1.5",
    "page=",
    "page=%D9%A1",
    "page=1&page=2",
    "page_size=0",
    "page_size=501",
    "page_size=1000000000",
    "page_size=x",
    "status=sleeping",
    "status=",
    "capability=juggling",
    "capability=chat_completion,vision",
    "proven=1",
    "proven=TRUE",
    "deprecated=yes",
    "gone=maybe",
    "deprecated=true&deprecated=false",
    "min_context_window=-1",
    "min_context_window=1e3",
    "max_context_window=99999999999999999999",
    "min_size_bytes=NaN",
    "max_size_bytes=0x10",
    "min_context_window=%20%207",
    "ordering=password",
    "ordering=--key",
    "ordering=key,name",
    "ordering=provider__secret",
    "ordering=?",
    "ordering=key%3BDROP%20TABLE",
    "ordering=",
    f"q={'a' * 10_240}",
    "q=%00",
    f"name={'a' * 201}",
    f"quantization={'a' * 201}",
    "q=a&q=b",
    "tag=",
    "tag=%20",
    "tag=a,b",
    f"tag={'t' * 65}",
    "tag=%00",
    "tag=a%0Ab",
    "provider=Open%20AI",
    "provider=",
    "provider=loaded",
    "provider=a:b",
    "provider=%00",
    "unknown=1",
    "_connector=OR",
    "key__icontains=a",
    "provider__secret__startswith=a",
    "format=xml",
    "pk=1",
    "id=1 OR 1=1",
    "search=x",
    "limit=5",
    "offset=5",
    "Q=x",
]


@pytest.mark.parametrize("query", WRONG, ids=lambda query: query[:40])
def test_it_refuses_what_cannot_be_meant(admin: Api, make_model: MakeModel, query: str) -> None:
    make_model("a")
    for path in ("/models", "/models/llama.cpp"):
        answer = admin.get(f"{path}?{query}")
        assert answer.status_code == 400, answer.content
        assert answer.json()["error"]["message"]
        assert len(answer.content) < 2000
    assert admin.get("/models").status_code == 200


def test_an_unknown_parameter_is_named_with_the_known_ones(admin: Api) -> None:
    error = admin.get("/models?sort=key").json()["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "sort")
    assert "ordering" in error["message"]


def test_a_page_behind_the_last_is_not_found(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    answer = admin.get("/models?page=2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert admin.get("/models?page=1&q=nothing").json()["models"] == []
