"""Every external setting, typed: an invalid value prevents the start with a message that names the setting.

Environment variables have the prefix `NOA_`, except those with a `validation_alias`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import platformdirs
from cryptography.fernet import Fernet
from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from models_app.domain.errors import InvalidRequest
from models_app.domain.records import otlp_receiver
from models_app.domain.records.otlp_receiver import Receiver
from models_app.domain.traffic import limits
from models_app.engines.confinement.confining import Mode
from models_app.engines.trust import NodeTrust
from noa_site import node_config, provider_config
from noa_site.file_config import FileSource
from noa_site.provider_config import ProviderEntry, WellKnownVariables

# The repository in a checkout, `site-packages` in an installation.
BASE_DIR = Path(__file__).resolve().parent.parent
IS_CHECKOUT = all((BASE_DIR / name).is_file() for name in ("manage.py", "pyproject.toml"))


def default_data_dir() -> Path:
    """`var` in a checkout; in an installation the user's data folder, as the package's own can be read-only."""
    return BASE_DIR / "var" if IS_CHECKOUT else platformdirs.user_data_path("noa")


class Config(WellKnownVariables):
    """Settings of one NOA process. docs/configuration.md describes each of them."""

    model_config = SettingsConfigDict(env_prefix="NOA_", extra="ignore", populate_by_name=True)

    data_dir: Path = default_data_dir()
    models_dir: Path | None = None
    demo_models: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    allowed_hosts: Annotated[list[str], NoDecode] = ["127.0.0.1", "localhost", "[::1]"]
    debug: bool = False
    https: bool = False
    secret_key: SecretStr | None = None
    admin_password: SecretStr | None = Field(default=None, min_length=12)
    # Fernet keys, newest first: the first one encrypts, all of them decrypt.
    encryption_keys: Annotated[list[SecretStr] | None, NoDecode] = None
    # Both can hold a password.
    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    database_timeout: float = Field(default=15.0, ge=1)
    database_connections: int = Field(default=10, ge=3, le=1000)
    broker_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    key_limits: Annotated[dict[str, Any], NoDecode] = {}
    web_processes: int = Field(default=1, ge=1, le=64)
    trusted_proxies: Annotated[list[str] | None, NoDecode] = None
    cors_origins: Annotated[list[str] | None, NoDecode] = None
    base_path: str | None = Field(default=None, pattern=r"^(/[A-Za-z0-9._~-]+)*/?$")
    node: Annotated[str, AfterValidator(node_config.named)] = "local"
    node_secret: SecretStr | None = Field(default=None, min_length=16)
    node_cert: Path | None = None
    node_key: Path | None = None
    node_ca: Path | None = None
    node_listen: str | None = None
    node_address: str | None = Field(default=None, validate_default=True)
    confine: Mode = Mode.AUTO
    canary_seconds: float = Field(default=15.0, ge=0)
    load_timeout: float = Field(default=600.0, gt=0)
    drain_timeout: float = Field(default=60.0, ge=0)
    memory_budget: ByteSize | None = None
    max_loaded_models: int | None = Field(default=None, ge=1)
    min_residency: float = Field(default=10.0, ge=0)
    idle_ttl: float = Field(default=0.0, ge=0)
    profile_tolerance: float = Field(default=0.1, gt=0, le=1)
    on_demand: bool = True
    cold_wait: float = Field(default=120.0, ge=0)
    stream_ping: float = Field(default=10.0, ge=0)
    queue_limit: int = Field(default=512, ge=1)
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    # 0: 32 times the largest body.
    max_bodies_bytes: int = Field(default=0, ge=0, validate_default=True)
    open_to_loopback: bool = True
    # 0: what the limit of file descriptors allows, and half of that for one address.
    max_connections: int = Field(default=0, ge=0)
    max_connections_per_address: int = Field(default=0, ge=0)
    access_log_days: int = Field(default=90, ge=1, le=36_500)
    event_days: int = Field(default=90, ge=1, le=36_500)
    audit_days: int = Field(default=365, ge=1, le=36_500)
    history_days: int = Field(default=1095, ge=62, le=36_500)
    storage_warning: ByteSize = ByteSize(20 * 1024**3)
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    # They can hold credentials. That of traces goes before that of all signals, as in OpenTelemetry.
    otlp_headers: SecretStr | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_HEADERS")
    otlp_traces_headers: SecretStr | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    otlp_compression: str | None = Field(
        default=None, pattern="^(none|gzip)$", validation_alias="OTEL_EXPORTER_OTLP_COMPRESSION"
    )
    otlp_traces_compression: str | None = Field(
        default=None, pattern="^(none|gzip)$", validation_alias="OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"
    )
    text_redaction: str | None = Field(default=None, pattern=r"^\w+(\.\w+)+$")
    log_format: str = Field(default="text", pattern="^(text|json)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    providers: Annotated[list[ProviderEntry] | None, NoDecode] = None

    @field_validator("max_bodies_bytes")
    @classmethod
    def holds_two_bodies(cls, value: int, info: ValidationInfo) -> int:
        largest = info.data.get("max_body_bytes", 0)
        if not value:
            return int(32 * largest)
        if value < 2 * largest:
            raise ValueError(f"must be at least twice NOA_MAX_BODY_BYTES, which is {largest}")
        return value

    @field_validator("node_listen")
    @classmethod
    def is_authenticated(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            node_config.listening(value, _trust(info.data))
        return value

    @field_validator("node_address")
    @classmethod
    def can_be_reached(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("node_listen") is None:
            return value
        listens = node_config.listening(info.data["node_listen"], _trust(info.data))
        return str(node_config.reached_at(value, listens)).partition("://")[2]

    @property
    def node_url(self) -> str:
        """The URL of this node's runners for other nodes; empty when they are local only."""
        if self.node_listen is None:
            return ""
        return f"{'https' if self.node_cert else 'http'}://{self.node_address}"

    @property
    def node_trust(self) -> NodeTrust:
        return _trust(self.__dict__)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls, "NOA_")

    @field_validator("key_limits", mode="before")
    @classmethod
    def are_limits(cls, value: Any) -> Any:
        try:
            return limits.checked(orjson.loads(value) if isinstance(value, str) else value)
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            raise ValueError('must be a JSON object such as {"requests_per_minute": 600}') from None
        except InvalidRequest as error:
            raise ValueError(error.message) from None

    @field_validator("providers", mode="before")
    @classmethod
    def parse_providers(cls, value: Any) -> Any:
        return provider_config.parse(value)

    @field_validator("encryption_keys", mode="after")
    @classmethod
    def are_fernet_keys(cls, value: list[SecretStr] | None) -> list[SecretStr] | None:
        for key in value or []:
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                # The value is a secret and must not be in the message.
                raise ValueError(
                    "each key must be 32 bytes in URL-safe base64; the command 'new_encryption_key' prints one"
                ) from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def check_origins(cls, value: list[str] | None) -> list[str] | None:
        """An origin with a path would never match."""
        for origin in value or []:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@*\s]+/?", origin):
                raise ValueError(f"'{origin}' is no origin. Give a scheme and a host, like https://chat.example.org")
        return value

    @field_validator("otlp_headers", "otlp_traces_headers")
    @classmethod
    def are_headers(cls, value: SecretStr | None) -> SecretStr | None:
        otlp_receiver.parse_headers(value.get_secret_value() if value else "")
        return value

    @field_validator("allowed_hosts", "encryption_keys", "trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def split_hosts(cls, value: Any) -> Any:
        """Splits a list at its commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("data_dir", "models_dir")
    @classmethod
    def absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else value

    @property
    def trace_receiver(self) -> Receiver | None:
        if not self.otlp_endpoint:
            return None
        headers = self.otlp_headers if self.otlp_traces_headers is None else self.otlp_traces_headers
        compression = self.otlp_traces_compression or self.otlp_compression
        return Receiver(
            self.otlp_endpoint,
            otlp_receiver.parse_headers(headers.get_secret_value() if headers else ""),
            compresses=compression == "gzip",
        )


def _trust(values: Mapping[str, Any]) -> NodeTrust:
    """The trust of the valid fields; with an invalid one the start fails anyway."""
    secret = values.get("node_secret")
    return NodeTrust(
        secret=secret.get_secret_value() if secret else "",
        authority=values.get("node_ca"),
        certificate=values.get("node_cert"),
        key=values.get("node_key"),
    )


def read() -> Config:
    """The configuration; exits with the name of every wrong setting."""
    try:
        return Config()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            name, *place = map(str, problem["loc"])
            variable = name if name.isupper() else f"NOA_{name.upper()}"
            within = f" ({'.'.join(place)})" if place else ""
            lines.append(f"  {variable}{within}: {problem['msg']}")
        sys.exit("noa: these settings are wrong, nothing was started:\n" + "\n".join(lines))
    except ValueError as error:
        sys.exit(f"noa: these settings are wrong, nothing was started:\n  {error}")
