"""Providers from the environment: created at the start, kept up to date, and released with their variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.provider_kinds import ProviderKind
from models_app.models import Event, Provider, RegisteredModel
from models_app.services.providers import providers
from models_app.services.registry import provider_settings
from models_app.services.registry.provider_environment import from_environment
from models_app.services.routes import routing
from noa_site import config, provider_config

pytestmark = pytest.mark.django_db

KEY = "sk-canary-1234567890"


def named(**more: Any) -> ProviderSettings:
    fields: dict[str, Any] = {
        "kind": ProviderKind.OPENAI,
        "api_key": SecretStr(KEY),
        "secret_env": "",
    }
    return ProviderSettings(**fields | more)


@pytest.fixture(autouse=True)
def nothing_named(settings: Any) -> None:
    settings.NOA_PROVIDERS = []
    settings.NOA_WELL_KNOWN_PROVIDERS = []


def test_a_second_start_changes_nothing(settings: Any) -> None:
    settings.NOA_PROVIDERS = [("vllm", named(base_url="https://vllm.example/v1"))]
    from_environment()
    provider = Provider.objects.get(slug="vllm")
    assert provider.origin == "environment"
    assert providers.endpoint(provider).api_key == KEY
    before = (routing.revision(), Event.objects.count(), provider.secret)
    from_environment()
    assert before == (
        routing.revision(),
        Event.objects.count(),
        Provider.objects.get(slug="vllm").secret,
    )


def test_what_is_named_otherwise_changes(settings: Any) -> None:
    settings.NOA_PROVIDERS = [("vllm", named(base_url="https://vllm.example/v1"))]
    from_environment()
    none = SecretStr("")
    settings.NOA_PROVIDERS = [("vllm", named(base_url="https://new.example/v1", api_key=none))]
    from_environment()
    provider = Provider.objects.get(slug="vllm")
    assert (provider.base_url, provider.secret) == ("https://new.example/v1", "")
    assert Event.objects.filter(name="provider-changed").count() == 1


def test_what_is_named_no_more_is_removed_or_disabled(settings: Any) -> None:
    settings.NOA_PROVIDERS = [("a", named()), ("b", named())]
    from_environment()
    provider = Provider.objects.get(slug="b")
    RegisteredModel.objects.create(provider=provider, model_id="m", key="b:m")
    settings.NOA_PROVIDERS = []
    from_environment()
    left = Provider.objects.get(slug="b")
    assert (left.enabled, left.origin, left.secret) == (False, "api", "")
    assert not Provider.objects.filter(slug="a").exists()


def test_a_named_provider_goes_before_one_that_was_configured(settings: Any) -> None:
    provider_settings.add(slug="vllm", settings=named(name="By hand"), actor="test")
    settings.NOA_PROVIDERS = [("vllm", named(name="By the environment"))]
    from_environment()
    provider = Provider.objects.get(slug="vllm")
    assert (provider.name, provider.origin) == ("By the environment", "environment")


def test_a_key_that_only_lies_in_the_environment_does_not(settings: Any) -> None:
    provider_settings.add(slug="openai", settings=named(name="By hand"), actor="test")
    settings.NOA_WELL_KNOWN_PROVIDERS = provider_config.well_known(
        ProviderKind.OPENAI, "OPENAI_API_KEY", SecretStr(KEY), None
    )
    from_environment()
    provider = Provider.objects.get(slug="openai")
    assert (provider.name, provider.origin) == ("By hand", "api")


def test_a_well_known_key_is_named_and_not_stored(settings: Any) -> None:
    settings.NOA_WELL_KNOWN_PROVIDERS = [
        *provider_config.well_known(ProviderKind.OPENAI, "OPENAI_API_KEY", SecretStr(KEY), None),
        *provider_config.well_known(ProviderKind.ANTHROPIC, "ANTHROPIC_API_KEY", None, None),
    ]
    from_environment()
    provider = Provider.objects.get(slug="openai")
    assert (provider.secret, provider.secret_env) == ("", "OPENAI_API_KEY")
    assert not Provider.objects.filter(slug="anthropic").exists()


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("NOA_PROVIDERS", "{", "must be a JSON list"),
        ("NOA_PROVIDERS", '{"slug": "a"}', "valid list"),
        ("NOA_PROVIDERS", f'["{KEY}"]', "NOA_PROVIDERS (0)"),
        ("NOA_PROVIDERS", f'[{{"slug": "a", "kind": "openai", "apikey": "{KEY}"}}]', "0.apikey"),
        ("NOA_PROVIDERS", f'[{{"slug": "a", "kind": "openai", "api_key": "{KEY}\\n"}}]', "line break"),
        ("NOA_PROVIDERS", f'[{{"slug": "a", "kind": "smtp", "api_key": "{KEY}"}}]', "0.kind"),
        ("NOA_PROVIDERS", '[{"slug": "load", "kind": "openai"}]', "'load' cannot be a provider"),
        ("NOA_PROVIDERS", '[{"slug": "a", "kind": "llama.cpp"}]', "needs the 'base_url'"),
        ("NOA_PROVIDERS", '[{"slug":"a","kind":"openai"},{"slug":"a","kind":"openai"}]', "twice"),
        ("NOA_PROVIDERS", '[{"slug":"a","kind":"openai","secret_env":"NOA_SECRET_KEY"}]', "of NOA"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1", "OPENAI_BASE_URL"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named_without_its_secrets(
    variable: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SystemExit) as caught:
        config.read()
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_right_value_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "NOA_PROVIDERS",
        f'[{{"slug": "claude", "kind": "anthropic", "api_key": "{KEY}", "timeouts": {{"connect": 5}}}}]',
    )
    read = config.read()
    assert read.providers is not None
    (entry,) = read.providers
    assert entry.slug == "anthropic"
    assert entry.settings().timeouts == {"connect": 5.0}
    assert KEY not in repr(read)


def test_a_key_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))
    read = config.read()
    key = read.model_dump()["openai_api_key"]
    assert key is not None
    assert key.get_secret_value() == KEY
    provider = Provider(slug="openai", secret_env="OPENAI_API_KEY")
    assert providers.secret_of(provider) == KEY
