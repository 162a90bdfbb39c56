"""Names of models, providers and routes."""

from __future__ import annotations

from collections.abc import Callable

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


@pytest.mark.parametrize(
    ("refused", "code", "param", "shown"),
    [
        (lambda text: ModelKey.parse(text), "invalid_key", "key", 80),
        (lambda text: keys.canonical_slug(text), "invalid_provider", "provider", 80),
        (lambda text: keys.checked_model_id(text), "invalid_model_id", "model", 80),
        (lambda text: keys.checked_route_name(text), "invalid_route", "route", 80),
    ],
    ids=["key", "slug", "model id", "route"],
)
def test_a_refusal_names_the_field_and_repeats_the_beginning(
    refused: Callable[[str], object], code: str, param: str, shown: int
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        refused("x" * 190 + "!")
    assert (refusal.value.code, refusal.value.param) == (code, param)
    assert f"'{'x' * shown}'" in refusal.value.message


@pytest.mark.parametrize(("length", "good"), [(1, True), (2, True), (190, True), (191, False)])
def test_a_model_id_has_up_to_190_characters(length: int, good: bool) -> None:
    try:
        keys.checked_model_id("x" * length)
    except InvalidRequest:
        assert not good
    else:
        assert good


@pytest.mark.parametrize("word", sorted(keys.RESERVED_ENDINGS))
def test_no_model_id_ends_with_a_word_of_the_api(word: str) -> None:
    for model_id in (f"a/{word}", f"a/b/{word}"):
        with pytest.raises(InvalidRequest, match="the API reserves the word") as refusal:
            keys.checked_model_id(model_id)
        assert (refusal.value.code, refusal.value.param) == ("invalid_model_id", "model")
    for model_id in (word, f"{word}/a", f"a/{word}/b", f"a/x{word}", f"a:{word}"):
        assert keys.checked_model_id(model_id) == model_id


@pytest.mark.parametrize("word", sorted(keys.RESERVED_SLUGS))
def test_no_provider_is_called_as_a_word_of_the_api(word: str) -> None:
    with pytest.raises(InvalidRequest):
        keys.canonical_slug(word)
    assert keys.canonical_slug(f"{word}1") == f"{word}1"


@pytest.mark.parametrize(
    ("text", "edges", "expected"),
    [
        ("Qwen2.5 0.5B (Q4).gguf", "-", "Qwen2.5-0.5B-Q4-.gguf"),
        ("  a b  ", "-", "a-b"),
        ("--a--", "-", "a"),
        (".a.", ".", "a"),
        ("ä/b?c#d", "-/", "b-c-d"),
    ],
)
def test_a_foreign_name_becomes_a_model_id(text: str, edges: str, expected: str) -> None:
    assert keys.cleaned_model_id(text, edges) == expected


@pytest.mark.parametrize(("text", "edges"), [("-a-", "."), ("???", "-"), ("a//b", "-")])
def test_a_foreign_name_without_a_model_id_is_refused(text: str, edges: str) -> None:
    with pytest.raises(InvalidRequest):
        keys.cleaned_model_id(text, edges)
