"""The address of the API of each kind of provider."""

from __future__ import annotations

import pytest

from models_app.domain.provider_kinds import ProviderKind, api_url


@pytest.mark.parametrize(
    ("kind", "given", "used"),
    [
        ("openai", "", "https://api.openai.com/v1"),
        ("openai", "https://x.example/v1/", "https://x.example/v1"),
        ("openai", "https://x.example/api//", "https://x.example/api"),
        ("openai", "https://x.example", "https://x.example"),
        ("anthropic", "", "https://api.anthropic.com"),
        ("anthropic", "https://x.example", "https://x.example"),
        ("anthropic", "https://x.example/v1", "https://x.example"),
        ("anthropic", "https://x.example/v1/", "https://x.example"),
        ("anthropic", "https://x.example//v1", "https://x.example"),
        ("anthropic", "https://x.example/V1", "https://x.example/V1"),
        ("anthropic", "https://x.example/v1/v1", "https://x.example/v1"),
        ("openai", "https://x.example/X", "https://x.example/X"),
        ("anthropic", "https://x.example/X/v1", "https://x.example/X"),
        ("llama.cpp", "", ""),
        ("llama.cpp", "https://x.example", "https://x.example/v1"),
        ("llama.cpp", "https://x.example/", "https://x.example/v1"),
        ("llama.cpp", "https://x.example/v1", "https://x.example/v1"),
        ("llama.cpp", "https://x.example/V1", "https://x.example/V1/v1"),
        ("llama.cpp", "https://x.example/v1/x", "https://x.example/v1/x/v1"),
    ],
)
def test_both_forms_of_a_base_url_mean_the_same(kind: str, given: str, used: str) -> None:
    assert api_url(ProviderKind(kind), given) == used
