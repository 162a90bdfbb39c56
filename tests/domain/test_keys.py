"""Names of models, providers and routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain import keys
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import ModelKey


@pytest.mark.parametrize(
    ("text", "provider", "model_id"),
    [
        ("openai:gpt-4o", "openai", "gpt-4o"),
        ("llama.cpp:Qwen/Qwen2.5-0.5B-Q4_K_M.gguf", "llama.cpp", "Qwen/Qwen2.5-0.5B-Q4_K_M.gguf"),
        ("ollama:llama3:8b", "ollama", "llama3:8b"),
        ("claude:claude-3", "anthropic", "claude-3"),
        ("p:a b", "p", "a b"),
    ],
)
def test_it_reads_keys(text: str, provider: str, model_id: str) -> None:
    key = ModelKey.parse(text)
    assert (key.provider, key.model_id) == (provider, model_id)
    assert str(key) == f"{provider}:{model_id}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a",
        "a:",
        ":b",
        "A:b",
        "load:x",
        "loaded:x",
        "current:x",
        "statistics:x",
        "p:../x",
        "p:a//b",
        "p:/a",
        "p:a/",
        "p:a\nb",
        "p:a\0b",
        "p:ä",
        "p:" + "x" * 200,
        "-p:x",
        "p p:x",
    ],
)
def test_it_refuses_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ModelKey.parse(text)


@given(st.text(max_size=300))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    try:
        key = ModelKey.parse(text)
    except InvalidRequest as error:
        assert error.message.endswith(".")
    else:
        assert ModelKey.parse(str(key)) == key


@pytest.mark.parametrize("name", ["current", "a", "a-b.c_1"])
def test_it_takes_route_names(name: str) -> None:
    assert keys.checked_route_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a/b", "a:b", "-a", "a" * 65])
def test_it_refuses_route_names(name: str) -> None:
    with pytest.raises(InvalidRequest):
        keys.checked_route_name(name)
