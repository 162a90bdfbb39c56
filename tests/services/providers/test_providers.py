"""The settings of providers: checks, their form in answers and events, and the protection of secrets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.errors import Conflict, InvalidRequest, NoaError, ProviderAuthFailed
from models_app.domain.provider_kinds import ProviderKind
from models_app.models import Event, Provider, RegisteredModel
from models_app.services.catalog import lookup
from models_app.services.providers import providers
from models_app.services.registry import provider_settings
from models_app.services.routes import routing

pytestmark = pytest.mark.django_db

KEY = "sk-canary-1234567890"


def settings(kind: ProviderKind = ProviderKind.OPENAI, **more: Any) -> ProviderSettings:
    if isinstance(more.get("api_key"), str):
        more["api_key"] = SecretStr(more["api_key"])
    return ProviderSettings(kind=kind, **more)


def add(slug: str = "openai", **more: Any) -> Provider:
    return provider_settings.add(slug=slug, settings=settings(**more), actor="test")


def change(slug: str = "openai", **fields: Any) -> Provider:
    if isinstance(fields.get("api_key"), str):
        fields["api_key"] = SecretStr(fields["api_key"])
    return provider_settings.change(slug=slug, fields=fields, actor="test")


def test_a_key_is_stored_sealed_and_opened_for_the_endpoint() -> None:
    provider = add(api_key=KEY)
    assert KEY not in provider.secret
    assert providers.endpoint(provider).api_key == KEY
    assert KEY not in repr(providers.endpoint(provider))
    assert KEY not in repr(settings(api_key=KEY))


def test_it_is_told_that_there_is_a_key_and_nothing_of_it() -> None:
    told = provider_settings.represent(add(api_key=KEY))
    assert (told["has_secret"], told["secret_source"], told["origin"]) == (True, "stored", "api")
    assert KEY not in str(told)
    event = Event.objects.get(name="provider-added")
    assert KEY not in str([event.after, event.data, event.message])


def test_kinds_have_addresses_of_their_own() -> None:
    add()
    add("anthropic", kind=ProviderKind.ANTHROPIC)
    found = {one.slug: providers.base_url(one) for one in Provider.objects.all()}
    assert found["openai"] == "https://api.openai.com/v1"
    assert found["anthropic"] == "https://api.anthropic.com"


def test_claude_is_another_name_of_anthropic() -> None:
    assert add("claude", kind=ProviderKind.ANTHROPIC).slug == "anthropic"
    assert lookup.provider(slug="claude").slug == "anthropic"


def test_a_key_may_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = add(secret_env="TEAM_KEY")
    with pytest.raises(ProviderAuthFailed, match="TEAM_KEY"):
        providers.endpoint(provider)
    monkeypatch.setenv("TEAM_KEY", KEY)
    assert providers.endpoint(provider).api_key == KEY
    monkeypatch.setenv("TEAM_KEY", f"{KEY}\n")
    with pytest.raises(ProviderAuthFailed) as caught:
        providers.endpoint(provider)
    assert KEY not in caught.value.message


@pytest.mark.parametrize(
    "name",
    ["NOA_SECRET_KEY", "NOA_ENCRYPTION_KEYS", "DATABASE_URL", "PGPASSWORD", "key", "A", "A-B"],
)
def test_variables_of_noa_itself_are_sent_to_nobody(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add(secret_env=name)
    assert (caught.value.code, caught.value.param) == ("invalid_secret", "secret_env")


@pytest.mark.parametrize("key", ["with\nbreak", " spaced ", "kĕy", "x" * 3000, "tab\tkey"])
def test_a_key_that_fits_no_header_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add(api_key=key)
    assert caught.value.code == "invalid_secret"
    assert key not in caught.value.message


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"base_url": "ftp://example.com"}, "invalid_url"),
        ({"base_url": "https://user:pass@example.com"}, "invalid_url"),
        ({"base_url": "http://10.0.0.1/v1"}, "address_not_allowed"),
        ({"base_url": "http://169.254.169.254/v1", "allow_private_addresses": True}, "address_not_allowed"),
        ({"kind": ProviderKind.LLAMA_CPP}, "missing_base_url"),
        ({"timeouts": {"connect": 0}}, "invalid_request"),
        ({"timeouts": {"connect": float("nan")}}, "invalid_request"),
        ({"timeouts": {"total": True}}, "invalid_request"),
        ({"timeouts": {"forever": 1}}, "invalid_request"),
        ({"api_key": KEY, "secret_env": "TEAM_KEY"}, "invalid_secret"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(NoaError) as caught:
        add(**fields)
    assert caught.value.code == code
    assert not Provider.objects.filter(slug="openai").exists()


def test_names_are_taken_once() -> None:
    add()
    with pytest.raises(Conflict) as caught:
        add()
    assert caught.value.code == "provider_exists"


def test_a_change_says_what_was_and_what_is_and_moves_the_revision() -> None:
    add(api_key=KEY)
    before = routing.revision()
    change(timeouts={"connect": 5, "total": 60.0})
    change(timeouts={"total": None})
    assert Provider.objects.get(slug="openai").timeouts == {"connect": 5.0}
    assert routing.revision() > before
    event = Event.objects.filter(name="provider-changed").latest("pk")
    assert event.before == {"timeouts": {"connect": 5.0, "total": 60.0}}
    assert event.after == {"timeouts": {"connect": 5.0}}


def test_a_new_key_is_a_change_and_the_same_key_is_none() -> None:
    add(api_key=KEY)
    change(api_key=KEY)
    assert not Event.objects.filter(name="provider-changed").exists()
    change(api_key="sk-other-key-12345")
    event = Event.objects.get(name="provider-changed")
    assert (event.data, event.before, event.after) == ({"secret_changed": True}, {}, {})


def test_an_empty_key_takes_it_away() -> None:
    add(api_key=KEY)
    assert provider_settings.represent(change(api_key=""))["has_secret"] is False
    change(secret_env="TEAM_KEY")
    assert provider_settings.represent(change(api_key=""))["secret_env"] is None


def test_a_key_is_not_sent_to_an_address_that_somebody_enters_later() -> None:
    add(api_key=KEY)
    with pytest.raises(InvalidRequest) as caught:
        change(base_url="https://elsewhere.example/v1")
    assert caught.value.code == "secret_needed"
    assert change(base_url="https://elsewhere.example/v1", api_key="sk-another-key-1").secret
    assert not change(base_url="https://third.example/v1", api_key="").secret


def test_the_files_of_this_machine_stay_what_they_are() -> None:
    lookup.local_provider()
    with pytest.raises(Conflict) as caught:
        change("llama.cpp", base_url="http://example.com")
    assert caught.value.code == "provider_built_in"
    with pytest.raises(Conflict, match="cannot be deleted"):
        provider_settings.remove(slug="llama.cpp", actor="test")
    assert change("llama.cpp", name="Here").name == "Here"
    assert provider_settings.represent(lookup.local_provider())["origin"] == "built-in"


def test_a_provider_with_models_is_not_removed() -> None:
    provider = add()
    RegisteredModel.objects.create(provider=provider, model_id="m", key="openai:m")
    with pytest.raises(Conflict, match="1 registered models") as caught:
        provider_settings.remove(slug="openai", actor="test")
    assert caught.value.code == "provider_has_models"
    RegisteredModel.objects.all().delete()
    provider_settings.remove(slug="openai", actor="test")
    assert Event.objects.get(name="provider-removed").before["kind"] == "openai"


def test_what_the_environment_names_is_changed_there() -> None:
    provider_settings.add(slug="openai", settings=settings(), actor="environment", origin="environment")
    for attempt in (
        lambda: change(name="Other"),
        lambda: provider_settings.remove(slug="openai", actor="test"),
    ):
        with pytest.raises(Conflict) as caught:
            attempt()
        assert caught.value.code == "provider_from_environment"
