"""The settings of a provider: what is accepted, and that no error shows a secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from models_app.domain.catalog import providers
from models_app.domain.catalog.provider_settings import ProviderSettings, check_remote
from models_app.domain.errors import InvalidRequest
from models_app.domain.provider_kinds import ProviderKind


@pytest.mark.parametrize("name", ["AB", "A_KEY", "A9", "A" * 100, "MY_NOA_KEY", "PGKEY", "NOAH"])
def test_a_variable_can_hold_a_key(name: str) -> None:
    assert providers.checked_secret_env(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A", "a_key", "9A", "_A", "A-B", "A B", "AB\n", "\u00c4B", "A" * 101, "sk-secret"]
    + ["NOA_SECRET_KEY", "DATABASE_URL", "DATABASE_URL_OLD", "DJANGO_SECRET_KEY", "PGPASSWORD", "PGPASSFILE"]
    + ["POSTGRES_PASSWORD", "REDIS_URL", "CELERY_BROKER_URL"],
)
def test_other_variables_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        providers.checked_secret_env(name)
    assert (caught.value.code, caught.value.param) == ("invalid_secret", "secret_env")


@pytest.mark.parametrize("text", ["x", "sk-a b", "!" * 2000, "~"])
def test_a_key_is_what_a_header_can_carry(text: str) -> None:
    assert providers.checked_secret(text) == text


@pytest.mark.parametrize("text", ["", "x" * 2001, "secret\n", "sec\x7fret", "s\u00e9cret", " secret", "secret ", " "])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(text: str) -> None:
    for fields, param in (({}, "api_key"), ({"param": "token"}, "token")):
        with pytest.raises(InvalidRequest) as caught:
            providers.checked_secret(text, **fields)
        assert (caught.value.code, caught.value.param) == ("invalid_secret", param)
        assert caught.value.message.startswith(f"'{param}' ")
        assert "ret" not in caught.value.message


BOUNDS = [("connect", 0.1, 60), ("first_byte", 1, 3600), ("idle", 1, 3600), ("total", 1, 86_400)]


@pytest.mark.parametrize(("name", "low", "high"), BOUNDS)
def test_a_timeout_has_bounds(name: str, low: float, high: float) -> None:
    for value in (low, high, (low + high) / 2):
        found = providers.checked_timeouts({name: value})
        assert found == {name: value}
        assert type(found[name]) is float
    for wrong in (low - 0.01, high + 0.01, 0, -1, float("nan"), float("inf"), "5", True, [5], 10**400):
        with pytest.raises(InvalidRequest) as caught:
            providers.checked_timeouts({name: wrong})
        assert caught.value.param == f"timeouts.{name}"
        assert caught.value.message == f"'timeouts.{name}' must be {low:g} to {high:g} seconds."


def test_null_leaves_one_timeout_to_the_server() -> None:
    assert providers.checked_timeouts({"connect": None, "idle": 5, "total": None}) == {"idle": 5.0}
    assert providers.checked_timeouts({}) == {}
    with pytest.raises(InvalidRequest):
        providers.checked_timeouts({"connect": None, "idle": 0})


def test_an_unknown_timeout_is_named_in_short() -> None:
    for name, named in (("read", "read"), ("x" * 40, "x" * 40), ("x" * 41, "x" * 40)):
        with pytest.raises(InvalidRequest) as caught:
            providers.checked_timeouts({name: None})
        assert caught.value.param == f"timeouts.{named}"
        known = "connect, first_byte, idle, total"
        assert caught.value.message == f"'timeouts.{named}' is unknown. Known: {known}."


def settings(kind: ProviderKind = ProviderKind.OPENAI, **fields: Any) -> ProviderSettings:
    return ProviderSettings(kind=kind, **fields)


GOOD: list[dict[str, Any]] = [
    {},
    {"base_url": "https://api.example.com/v1"},
    {"base_url": "http://10.0.0.7:8080", "allow_private_addresses": True},
    {"api_key": SecretStr("sk-secret")},
    {"api_key": SecretStr(""), "secret_env": "OTHER_KEY"},
    {"api_key": SecretStr("sk-secret"), "secret_env": ""},
    {"timeouts": {"connect": 1}},
]


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_settings_of_a_provider_on_the_network(fields: dict[str, Any]) -> None:
    assert check_remote("some.host", settings(**fields)) == "some.host"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"base_url": "api.example.com"}, "base_url", None),
        ({"base_url": "http://10.0.0.7:8080"}, "base_url", "address_not_allowed"),
        ({"base_url": "http://169.254.169.254/", "allow_private_addresses": True}, "base_url", "address_not_allowed"),
        ({"api_key": SecretStr("sk-secret"), "secret_env": "OTHER_KEY"}, "secret_env", "invalid_secret"),
        ({"secret_env": "NOA_SECRET_KEY"}, "secret_env", "invalid_secret"),
        ({"api_key": SecretStr("sk-secret\n")}, "api_key", "invalid_secret"),
        ({"timeouts": {"connect": 0}}, "timeouts.connect", None),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_without_showing_the_key(
    fields: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_remote("some", settings(**fields))
    assert caught.value.param == param
    assert code is None or caught.value.code == code
    assert "sk-secret" not in caught.value.message


def test_a_name_is_canonical_and_checked() -> None:
    assert check_remote("claude", settings(ProviderKind.ANTHROPIC)) == "anthropic"
    with pytest.raises(InvalidRequest) as caught:
        check_remote("Not a name", settings())
    assert caught.value.code == "invalid_provider"


def test_a_server_of_the_kind_of_local_files_needs_an_address() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_remote("gpu", settings(ProviderKind.LLAMA_CPP))
    assert (caught.value.code, caught.value.param) == ("missing_base_url", "base_url")
    assert check_remote("gpu", settings(ProviderKind.LLAMA_CPP, base_url="https://gpu.example.com")) == "gpu"
