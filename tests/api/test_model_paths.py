"""`models/{provider}`, `models/{key}` and literal words share a path segment: how each path is resolved."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.urls import URLPattern

from models_app.api import urls
from models_app.domain.keys import RESERVED_ENDINGS, RESERVED_SLUGS
from models_app.models import Provider, RegisteredModel
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]


def paths() -> list[str]:
    return [str(pattern.pattern) for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)]


def test_no_provider_can_have_the_name_of_a_word_of_the_api() -> None:
    words = {found[1] for path in paths() if (found := re.match(r"models/([a-z-]+)$", path))}
    assert words
    assert words <= RESERVED_SLUGS


def test_no_model_can_end_with_a_word_that_comes_after_a_key() -> None:
    below = [path.partition("<modelkey:key>/")[2] for path in paths()]
    endings = {path.rpartition("/")[2] for path in below if path}
    assert "tags" in endings
    assert endings <= RESERVED_ENDINGS


@pytest.mark.parametrize("word", sorted(RESERVED_SLUGS))
def test_a_reserved_word_is_no_provider(admin: Api, word: str) -> None:
    answer = admin.get(f"/models?provider={word}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_provider")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("llama.cpp:a", "llama.cpp:a"),
        ("llama.cpp%3Aa", "llama.cpp:a"),
        ("llama.cpp:Org/model:8b.gguf", "llama.cpp:Org/model:8b.gguf"),
        ("llama.cpp:Org%2Fmodel%3A8b.gguf", "llama.cpp:Org/model:8b.gguf"),
        ("llama.cpp:capabilities", "llama.cpp:capabilities"),
        ("llama.cpp:loaded", "llama.cpp:loaded"),
        ("llama.cpp:a.b", "llama.cpp:a.b"),
        ("llama.cpp:a+b", "llama.cpp:a+b"),
        ("llama.cpp:a%2Bb", "llama.cpp:a+b"),
        ("llama.cpp:a%20b", "llama.cpp:a b"),
        ("llama.cpp:tags/a", "llama.cpp:tags/a"),
        ("claude:opus", "anthropic:opus"),
    ],
)
def test_it_reads_a_model_by_its_key(admin: Api, make_model: MakeModel, path: str, key: str) -> None:
    for model_id in (
        "a",
        "Org/model:8b.gguf",
        "capabilities",
        "loaded",
        "a.b",
        "a+b",
        "a b",
        "tags/a",
    ):
        make_model(model_id)
    anthropic = Provider.objects.create(slug="anthropic", kind="anthropic")
    RegisteredModel.objects.create(provider=anthropic, model_id="opus", key="anthropic:opus")
    answer = admin.get(f"/models/{path}")
    assert (answer.status_code, answer.json().get("key")) == (200, key)
    below = admin.get(f"/models/{path}/versions")
    assert below.status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("llama.cpp:none", 404, "model_not_found"),
        ("llama.cpp:A", 404, "model_not_found"),
        ("llama.cpp:none/versions", 404, "model_not_found"),
        ("llama.cpp:a/b", 404, "model_not_found"),
        ("openai:gpt-4o", 404, "model_not_found"),
        ("llama.cpp:a/probe", 400, "invalid_model_id"),
        ("llama.cpp:a/tags/tags", 405, "method_not_allowed"),
        ("LLAMA.CPP:a", 400, "invalid_provider"),
        ("llama.cpp:../etc", 400, "invalid_model_id"),
        ("llama.cpp:%2E%2E%2Fetc", 400, "invalid_model_id"),
        ("llama.cpp:a%2F%2Fb", 400, "invalid_model_id"),
        ("llama.cpp:a/", 404, "not_found"),
        ("llama.cpp: a", 400, "invalid_model_id"),
        ("llama.cpp:caf%C3%A9", 400, "invalid_model_id"),
        ("llama.cpp:cafe%CC%81", 400, "invalid_model_id"),
        ("llama.cpp:%E2%80%AEa", 400, "invalid_model_id"),
        ("llama.cpp:a%0Ab", 404, "not_found"),
        ("llama.cpp:%FF", 400, "invalid_model_id"),
        ("llama.cpp:%252F", 400, "invalid_model_id"),
        ("llama.cpp:" + "a" * 5_000, 400, "invalid_model_id"),
        ("llama.cpp:a%00b", 404, "not_found"),
        (":a", 404, "not_found"),
        ("a/b:c", 404, "not_found"),
        ("", 404, "not_found"),
        ("llama.cpp:", 404, "not_found"),
        ("llama%2ecpp", 200, ""),
        ("claude", 404, "provider_not_found"),
        ("nobody", 404, "provider_not_found"),
        ("LLAMA.CPP", 400, "invalid_provider"),
        ("Loaded", 400, "invalid_provider"),
        ("state", 400, "invalid_provider"),
        ("..", 400, "invalid_provider"),
        ("caf%C3%A9", 400, "invalid_provider"),
        ("%D0%BEpenai", 400, "invalid_provider"),
        ("llama.cpp:/", 404, "not_found"),
        ("a" * 5_000, 400, "invalid_provider"),
        ("%00", 404, "not_found"),
        ("llama.cpp/", 404, "not_found"),
        ("llama.cpp/versions", 404, "not_found"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_else_a_path_means(admin: Api, make_model: MakeModel, path: str, status: int, code: str) -> None:
    make_model("a")
    answer = admin.get(f"/models/{path}")
    assert answer["Content-Type"] == "application/json"
    error = answer.json().get("error", {})
    assert (answer.status_code, error.get("code", "")) == (status, code)
    assert admin.get("/models/llama.cpp:a").status_code == 200


@pytest.mark.parametrize("word", ["loaded", "current", "statistics", "export"])
def test_words_are_no_providers(admin: Api, word: str) -> None:
    answer = admin.get(f"/models/{word}")
    assert answer.status_code == 200
    assert "previous" not in answer.json()


@pytest.mark.parametrize("parameter", ["x=1", "key=a", "format=api", "_method=DELETE"])
def test_one_model_takes_no_parameters(admin: Api, make_model: MakeModel, parameter: str) -> None:
    make_model("a")
    answer = admin.get(f"/models/llama.cpp:a?{parameter}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
