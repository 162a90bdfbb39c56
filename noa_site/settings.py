"""Django's settings, made from `noa_site.config`."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.urls import reverse_lazy
from kombu import Exchange, Queue

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.events import EventName
from models_app.domain.measuring.comparison import Verdict as ComparisonVerdict
from models_app.domain.provider_kinds import KINDS, ProviderKind
from models_app.domain.residency.health import Health
from models_app.domain.states import InstanceState, JobState, ModelStatus, ProfileState
from noa_site import config as noa_config
from noa_site import console, logs, postgres, provider_config

CONFIG = noa_config.read()
BASE_DIR = noa_config.BASE_DIR
DATA_DIR = CONFIG.data_dir
# Here, as every program of the server reads its settings first: what it creates, SQLite's files included, is private.
os.umask(0o077)
# Programs of an installed package: `-P` keeps modules of the working folder from shadowing it. In a checkout the
# working folder goes first, as it can be another checkout than the installed one.
_PYTHON = [sys.executable] if noa_config.IS_CHECKOUT else [sys.executable, "-P"]


def _private_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _kept(name: str, make: Callable[[], str]) -> str:
    """A secret that `make` generates once, kept in a file that only this user can read."""
    path = _private_folder(DATA_DIR) / name
    if not path.exists():
        # Complete before it gets its name: a process that starts at the same time must not read half of it.
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
            file.write(make())
            file.flush()
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text().strip()


def _secret_key() -> str:
    if CONFIG.secret_key:
        return CONFIG.secret_key.get_secret_value()
    return _kept("secret_key", lambda: secrets.token_urlsafe(48))


def _encryption_keys() -> list[str]:
    if CONFIG.encryption_keys:
        return [key.get_secret_value() for key in CONFIG.encryption_keys]
    return [_kept("encryption_key", lambda: Fernet.generate_key().decode())]


SECRET_KEY = _secret_key()
DEBUG = CONFIG.debug
ALLOWED_HOSTS = CONFIG.allowed_hosts
ROOT_URLCONF = "noa_site.urls"
ASGI_APPLICATION = "noa_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "models_app",
]

MIDDLEWARE = [
    "models_app.api.request_ids.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "models_app.admin.people.security.ContentSecurityPolicyMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "models_app.admin.people.sessions.RecognizedSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates" if noa_config.IS_CHECKOUT else BASE_DIR / "noa_site" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Django's algorithm, of which only a few run at once.
PASSWORD_HASHERS = ["models_app.services.log_ins.hashing.BoundedHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]


def _sqlite() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _private_folder(DATA_DIR) / "noa.sqlite3",
        "OPTIONS": {
            # A deferred transaction that reads and then writes fails instead of waiting for the lock.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        },
        # A file, so that all threads of a test use the same database.
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }


def _database() -> dict[str, Any]:
    if not CONFIG.database_url:
        return _sqlite()
    return postgres.settings(
        CONFIG.database_url.get_secret_value(),
        seconds=CONFIG.database_timeout,
        connections=CONFIG.database_connections,
    )


DATABASES = {"default": _database()}
# Differences from OPTIONS for the readiness check, which has a connection of its own; seconds.
NOA_READINESS_OPTIONS: dict[str, Any] = (
    postgres.readiness_options(DATABASES["default"]["OPTIONS"]) if CONFIG.database_url else {"timeout": 1.5}
)

# Of every link and redirect that Django makes, and of its static files.
FORCE_SCRIPT_NAME = (CONFIG.base_path or "").rstrip("/") or None
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
# Files are served from their packages: the first start needs no collectstatic.
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
SESSION_COOKIE_AGE = 8 * 60 * 60
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
if CONFIG.https:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    # A day: long enough to protect, short enough to revert.
    SECURE_HSTS_SECONDS = 86_400
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIG.trusted_proxies else None
    # The proxy redirects, not NOA: programs on this machine use plain HTTP over loopback (W008). NOA has no information
    # about TLS of the domain's other names (W005, W021).
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
X_FRAME_OPTIONS = "DENY"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "models_app.api.authentication.ApiKeyAuthentication",
        "models_app.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["models_app.api.permissions.RightsPermission"],
    "DEFAULT_RENDERER_CLASSES": ["models_app.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["models_app.api.parsers.BoundedJSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "models_app.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    # `Accept` selects the format; operations accept only query parameters that they declare.
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "NOA",
    "DESCRIPTION": "Register, load, measure and hot-swap language models.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": FORCE_SCRIPT_NAME}] if FORCE_SCRIPT_NAME else [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "models_app.api.document.add_gateway",
        "models_app.api.document.add_examples",
        "models_app.api.document.tighten",
    ],
    "ENUM_NAME_OVERRIDES": {
        # By value: the labels of a choice are part of an enumeration's identity.
        **{
            words.__name__: [word.value for word in words]
            for words in (
                Capability,
                EventName,
                Health,
                InstanceState,
                JobState,
                ModelStatus,
                ProfileState,
                ProviderKind,
            )
        },
        "ComparisonVerdict": [word.value for word in ComparisonVerdict],
        "JobStepState": ["running", "done", "failed"],
        "ApiKeyState": ["active", "expired", "revoked"],
    },
}

# Celery. Without a broker URL the worker runs in the process of the server.
CELERY_BROKER_URL = CONFIG.broker_url.get_secret_value() if CONFIG.broker_url else "noa-embedded://localhost"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Runners are children of the worker's process: its forked children could not control them.
CELERY_WORKER_POOL = "threads"
# Jobs mostly wait for runners: more of them than processors can run at once.
CELERY_WORKER_CONCURRENCY = 8
CELERY_TASK_DEFAULT_QUEUE = f"node.{CONFIG.node}"
# The queues of this node's worker: jobs of this node, and jobs of any node.
CELERY_TASK_QUEUES = [Queue(name, Exchange(name), routing_key=name) for name in (CELERY_TASK_DEFAULT_QUEUE, "common")]
CELERY_BROKER_CONNECTION_TIMEOUT = 5.0
# None: a consumer reconnects without end; a limit would stop it when the broker is away for long.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
if CELERY_BROKER_URL.startswith(("redis", "sentinel")):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # Seconds until an unacknowledged message is redelivered: longer than any job. Jobs are idempotent.
        "visibility_timeout": int(max(3600.0, 2 * (CONFIG.load_timeout + CONFIG.drain_timeout))),
        # For a broker that hangs; longer than the consumer's own blocking read of 10 seconds.
        "socket_timeout": 20.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A message on the broker only announces a job; it must not be able to stop or change a worker.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False

# NOA's settings, read by models_app through django.conf.settings.

# Every field of the configuration is passed on, `CONFIG.load_timeout` as `NOA_LOAD_TIMEOUT`, except these: settings of
# Django and Celery above, or combined settings below, are made of them. mypy: see `.ci/mypy_settings.py`.
_OF_DJANGO = {"allowed_hosts", "debug", "https", "secret_key", "log_format", "log_level"}
_OF_DATABASE = {"database_url", "database_timeout", "database_connections"}
_OF_BROKER = {"broker_url", "redis_url"}
_OF_NODE_TRUST = {"node_secret", "node_cert", "node_key", "node_ca"}
_OF_PROVIDERS = {variable.lower() for row in KINDS.values() for variable in row.variables or ()}
_OF_MODEL_ROOTS = {"demo_models"}
_OF_TRACES = {
    "otlp_endpoint",
    "otlp_headers",
    "otlp_traces_headers",
    "otlp_compression",
    "otlp_traces_compression",
}
_NOT_PASSED_ON = _OF_DJANGO | _OF_DATABASE | _OF_BROKER | _OF_NODE_TRUST | _OF_PROVIDERS | _OF_MODEL_ROOTS | _OF_TRACES
globals().update(
    {f"NOA_{name.upper()}": getattr(CONFIG, name) for name in type(CONFIG).model_fields.keys() - _NOT_PASSED_ON}
)

# Settings whose value differs from their variable's.
# Empty when runners of this machine are local only.
NOA_NODE_ADDRESS = CONFIG.node_url
NOA_ENCRYPTION_KEYS = _encryption_keys()
NOA_ADMIN_PASSWORD = CONFIG.admin_password.get_secret_value() if CONFIG.admin_password else None
# `repr` hides the keys in them.
NOA_PROVIDERS = [(entry.slug, entry.settings()) for entry in CONFIG.providers or []]
NOA_MODELS_DIR = CONFIG.models_dir or DATA_DIR / "models"
NOA_MEMORY_BUDGET = None if CONFIG.memory_budget is None else int(CONFIG.memory_budget)
NOA_TRUSTED_PROXIES = CONFIG.trusted_proxies or []
NOA_CORS_ORIGINS = CONFIG.cors_origins or []
NOA_BASE_PATH = FORCE_SCRIPT_NAME or ""

# Names of the environment variables that exist; `doctor` reports others.
NOA_VARIABLES = frozenset(
    {str(field.validation_alias or f"NOA_{name.upper()}") for name, field in type(CONFIG).model_fields.items()}
    # Of the command line, the set-up and the tests.
    | {"NOA_URL", "NOA_API_KEY", "NOA_CACHE_DIR", "NOA_TEST_DATABASE", "NOA_TEST_REDIS_URL"}
)
NOA_NODE_TRUST = CONFIG.node_trust
NOA_TRACE_RECEIVER = CONFIG.trace_receiver
NOA_WELL_KNOWN_PROVIDERS = provider_config.well_known_providers(CONFIG)
NOA_DEMO_DIR = BASE_DIR / "models_app" / "demo"
NOA_MODEL_ROOTS = [NOA_MODELS_DIR, *([NOA_DEMO_DIR] if CONFIG.demo_models else [])]
# Requests with a key or session that Django processes at once. Others, and threads of the process, use connections too.
NOA_DJANGO_PLACES = max(2, CONFIG.database_connections - 4)
NOA_EMBEDDED = CONFIG.broker_url is None
# The Redis that counts requests against the limits of keys; None: this process counts.
NOA_LIMITS_URL = next(
    (
        url
        for url in (CONFIG.redis_url and CONFIG.redis_url.get_secret_value(), CELERY_BROKER_URL)
        if url and url.startswith(("redis://", "rediss://", "unix://"))
    ),
    None,
)

# Programs of this installation.
NOA_WEB_SERVER = "noa_site.web.serve"
NOA_RUNNER_COMMAND = [*_PYTHON, "-m", "models_app.engines.runner"]
# Starts one web process of several.
NOA_WEB_COMMAND = [
    *_PYTHON,
    *([str(BASE_DIR / "manage.py")] if noa_config.IS_CHECKOUT else ["-m", "noa_site"]),
    "web_process",
]
# The command line of management commands, for messages to operators.
NOA_SERVER_COMMAND = ".venv/bin/python manage.py" if noa_config.IS_CHECKOUT else "noa-server"

LOGGING = logs.configuration(form=CONFIG.log_format, level=CONFIG.log_level)

UNFOLD = console.UNFOLD
