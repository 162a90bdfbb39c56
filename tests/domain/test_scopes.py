"""The scopes of a key, and its models."""

from __future__ import annotations

import pytest

from models_app.domain.scopes import Scope, allows, may_use


@pytest.mark.parametrize(
    ("granted", "sufficient"),
    [
        ({Scope.INFER}, {Scope.INFER}),
        ({Scope.READ}, {Scope.READ}),
        ({Scope.OPERATE}, {Scope.READ, Scope.OPERATE}),
        ({Scope.ADMIN}, set(Scope)),
        ({Scope.INFER, Scope.READ}, {Scope.INFER, Scope.READ}),
        (set(), set()),
        ({"root"}, set()),
    ],
)
def test_a_scope_suffices_for_itself_and_what_is_less(granted: set[str], sufficient: set[Scope]) -> None:
    assert {needed for needed in Scope if allows(frozenset(granted), needed)} == sufficient


@pytest.mark.parametrize(
    ("allowed", "name", "may"),
    [
        ((), "openai:gpt-4o", True),
        (("openai:gpt-4o",), "openai:gpt-4o", True),
        (("openai:gpt-4o",), "openai:gpt-4o-mini", False),
        (("openai:*",), "openai:gpt-4o", True),
        (("openai:*",), "openai", False),
        (("openai:*",), "openai-eu:gpt-4o", False),
        (("current",), "current", True),
        (("current",), "openai:gpt-4o", False),
        (("openai:*",), "current", False),
        (("llama.cpp:a:b",), "llama.cpp:a:b", True),
        (("*",), "openai:gpt-4o", False),
        (("ollama:*",), "ollama:llama3:8b", True),
        (("ollama:llama3:*",), "ollama:llama3:8b", False),
        (("llama3:*",), "ollama:llama3:8b", False),
    ],
)
def test_a_bound_key_may_use_what_it_is_bound_to(allowed: tuple[str, ...], name: str, may: bool) -> None:
    assert may_use(frozenset(allowed), name) is may
