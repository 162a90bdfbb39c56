"""Settings: values from files, the fields that become Django settings, and where data goes."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from django.conf import settings as django_settings
from pydantic import SecretStr

from noa_site import config
from noa_site import settings as site_settings
from tests.markdown import ROOT

# Fields whose setting differs from the field's value: a derived default, or another type.
CHANGED = {
    "base_path",
    "node_address",
    "encryption_keys",
    "admin_password",
    "providers",
    "models_dir",
    "memory_budget",
    "trusted_proxies",
    "cors_origins",
}


def test_any_setting_may_be_the_content_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("postgresql://noa:secret@db/noa\n")
    (tmp_path / "hosts").write_text("a.example, b.example\n")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("NOA_ALLOWED_HOSTS_FILE", str(tmp_path / "hosts"))
    read = config.read()
    assert read.database_url is not None
    assert read.database_url.get_secret_value() == "postgresql://noa:secret@db/noa"
    assert read.allowed_hosts == ["a.example", "b.example"]
    assert "secret@" not in repr(read)


def test_a_file_that_cannot_be_read_stops_the_start_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_SECRET_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="NOA_SECRET_KEY_FILE: .* cannot be read: No such file"):
        config.read()


def test_a_value_and_a_file_for_it_are_a_contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "port").write_text("9000")
    monkeypatch.setenv("NOA_PORT", "8000")
    monkeypatch.setenv("NOA_PORT_FILE", str(tmp_path / "port"))
    with pytest.raises(SystemExit, match="NOA_PORT and NOA_PORT_FILE are both set"):
        config.read()


@pytest.mark.parametrize("origin", ["https://chat.example.org", "http://localhost:5173/", "*", "https://[::1]:8443"])
def test_origins_of_pages_can_be_named(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_CORS_ORIGINS", f"https://a.example, {origin}")
    assert config.read().cors_origins == ["https://a.example", origin]


@pytest.mark.parametrize(
    "origin", ["chat.example.org", "https://a.example/chat", "https://*.a.example", "https://u@a.example"]
)
def test_what_is_no_origin_stops_the_start(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_CORS_ORIGINS", origin)
    with pytest.raises(SystemExit, match="NOA_CORS_ORIGINS.*is no origin"):
        config.read()


def test_a_wrong_value_in_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "port").write_text("high")
    monkeypatch.setenv("NOA_PORT_FILE", str(tmp_path / "port"))
    with pytest.raises(SystemExit, match="NOA_PORT"):
        config.read()


def test_all_bodies_have_room_for_two_of_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_MAX_BODY_BYTES", "2000000")
    assert config.read().max_bodies_bytes == 64_000_000
    monkeypatch.setenv("NOA_MAX_BODIES_BYTES", "3999999")
    with pytest.raises(SystemExit, match="NOA_MAX_BODIES_BYTES: .* twice NOA_MAX_BODY_BYTES, which is 2000000"):
        config.read()


def test_every_field_is_a_setting_of_its_name_or_named_as_part_of_others() -> None:
    fields = config.Config.model_fields.keys()
    assert fields >= site_settings._NOT_PASSED_ON
    for name in fields:
        setting = f"NOA_{name.upper()}"
        assert hasattr(django_settings, setting) == (name not in site_settings._NOT_PASSED_ON), name
    for name in fields - site_settings._NOT_PASSED_ON - CHANGED:
        assert getattr(site_settings, f"NOA_{name.upper()}") == getattr(site_settings.CONFIG, name), name


def test_no_secret_is_handed_on_as_it_is() -> None:
    secrets = {name for name in dir(site_settings) if isinstance(getattr(site_settings, name), SecretStr)}
    assert secrets == set()
    assert {name for name, field in config.Config.model_fields.items() if "SecretStr" in str(field.annotation)} <= (
        site_settings._NOT_PASSED_ON | {"encryption_keys", "admin_password"}
    )


def test_data_goes_to_var_in_a_checkout_and_to_the_users_folder_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.IS_CHECKOUT
    assert config.default_data_dir() == ROOT / "var"
    monkeypatch.setattr(config, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert config.default_data_dir() == platformdirs.user_data_path("noa") == Path("/srv/data/noa")


def test_the_variable_goes_before_both_data_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOA_DATA_DIR", str(tmp_path))
    assert config.read().data_dir == tmp_path


def test_the_receiver_of_traces_has_the_headers_of_opentelemetrys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1")
    assert config.Config().trace_receiver is None
    monkeypatch.setenv("NOA_OTLP_ENDPOINT", "https://cloud.example.org/api/public/otel")
    found = config.Config().trace_receiver
    assert found is not None
    assert (found.url, found.headers, found.compresses) == (
        "https://cloud.example.org/api/public/otel/v1/traces",
        {"a": "1"},
        False,
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    found = config.Config().trace_receiver
    assert found is not None
    assert (found.headers, found.compresses) == ({"b": "2"}, True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none")
    found = config.Config().trace_receiver
    assert found is not None
    assert not found.compresses


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_COMPRESSION"])
def test_a_wrong_setting_of_traces_is_named_without_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "my secret")
    with pytest.raises(SystemExit, match="settings are wrong") as caught:
        config.read()
    assert "OTLP" in str(caught.value)
    assert "my secret" not in str(caught.value)
