"""Diagnoses a server: checks everything that NOA needs, and reports each problem with its remedy."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from models_app.domain.errors import EngineError, NoaError
from models_app.domain.measuring import diagnosis
from models_app.domain.measuring.diagnosis import Finding, Level
from models_app.engines import build, devices
from models_app.engines.confinement import probing
from models_app.engines.confinement.confining import Mode
from models_app.models import Provider
from models_app.services.api_keys import budgets
from models_app.services.coordination import data_folder
from models_app.services.providers import providers
from models_app.services.reporting import readiness
from models_app.services.retention import sizes

_ANSWER_SECONDS = 2.0
# Each exposed file is a finding, up to this number.
_SHOWN = 8

Check = Callable[[], Iterator[Finding]]


def examine() -> list[Finding]:
    """All findings. Checks that need the database are skipped when it does not answer."""
    found = [*variables(), *database()]
    checks: list[Check] = [broker, limits, folders, disk, engine, confinement, port]
    if not _is_unavailable(found):
        checks += [clock, worker, secrets, storage]
    return [*found, *(finding for check in checks for finding in check())]


def _is_unavailable(found: list[Finding]) -> bool:
    return any(finding.check == "database" and "does not answer" in finding.what for finding in found)


def variables() -> Iterator[Finding]:
    unknown = diagnosis.unknown_variables(os.environ, settings.NOA_VARIABLES)
    yield from unknown or [Finding("settings", Level.OK, "Every NOA_ variable is a setting.")]


def database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        yield _version()
        yield from _migrations()
    except DatabaseError as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        yield Finding(
            "database",
            Level.PROBLEM,
            f"The database does not answer: {why}.",
            "Start it, and check DATABASE_URL: host, port, name, user and password.",
        )


def _version() -> Finding:
    if connection.vendor == "postgresql":
        return diagnosis.postgres(connection.pg_version)  # type: ignore[attr-defined]
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (mode,) = cursor.fetchone()
    if mode in ("wal", "memory"):
        return Finding("database", Level.OK, f"SQLite answers, in {mode.upper()} mode.")
    return Finding(
        "database",
        Level.PROBLEM,
        f"SQLite is in {mode} mode: readers and writers wait for each other.",
        "Put NOA_DATA_DIR on a local disk: WAL does not work on network file systems.",
    )


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        yield Finding(
            "database",
            Level.PROBLEM,
            f"{len(plan)} migrations are not applied; the first is {plan[0][0]}.",
            "Run 'manage.py migrate', or start 'noa serve', which does it.",
        )


def clock() -> Iterator[Finding]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (theirs,) = cursor.fetchone()
        yield diagnosis.clock((theirs - datetime.now(UTC)).total_seconds())


def broker() -> Iterator[Finding]:
    why = readiness.broker()
    if why:
        yield Finding("broker", Level.PROBLEM, why, "Start it, and check NOA_BROKER_URL.")
    else:
        yield Finding("broker", Level.OK, "The broker answers.")


def limits() -> Iterator[Finding]:
    """Whether requests can be counted against the limits of keys."""
    if settings.NOA_LIMITS_URL is None:
        if not budgets.is_exact():
            yield Finding(
                "limits",
                Level.WARNING,
                "Several processes serve without a Redis to count in: limits of keys cannot be enforced.",
                "Set NOA_REDIS_URL if keys should have limits.",
            )
        return
    client = redis.Redis.from_url(
        settings.NOA_LIMITS_URL, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS
    )
    try:
        client.ping()
        yield Finding("limits", Level.OK, "Redis answers; limits are enforced across processes.")
    except (redis.RedisError, OSError) as error:
        yield Finding(
            "limits",
            Level.PROBLEM,
            f"Redis does not answer: {error}.",
            "Start it, and check NOA_REDIS_URL. Until then each process enforces limits separately.",
        )
    finally:
        client.close()


def worker() -> Iterator[Finding]:
    why = readiness.worker()
    if why:
        yield Finding(
            "worker", Level.WARNING, why, "Start 'noa serve', or with a broker a worker: see docs/production.md."
        )
    else:
        yield Finding("worker", Level.OK, "A worker's heartbeat arrives.")


def folders() -> Iterator[Finding]:
    """Whether the data folder and its keys are private, and the model folders readable."""
    yield from _private(Path(settings.NOA_DATA_DIR))
    for root in settings.NOA_MODEL_ROOTS:
        yield _readable(Path(root))


def _private(data: Path) -> Iterator[Finding]:
    if not data.exists():
        yield Finding(
            "permissions",
            Level.WARNING,
            f"{data} does not exist yet.",
            "Before the first start of the server nothing has to be done: it creates its folder.",
        )
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "permissions",
            Level.PROBLEM,
            f"{data} cannot be read and written by this user.",
            f"Give it to the user of the server: chown $(id -un) {data}",
        )
        return
    found = list(data_folder.exposed(data))
    for one in found[:_SHOWN]:
        yield Finding(
            "permissions",
            Level.PROBLEM,
            f"Others can read {one.path} (mode {one.mode:o}).",
            f"chmod {one.mode_needed:o} {one.path}",
        )
    if len(found) > _SHOWN:
        yield Finding(
            "permissions",
            Level.PROBLEM,
            f"Others can read {len(found) - _SHOWN} more files and folders in {data}.",
            "Restart the server, which takes the access from them.",
        )
    if not found:
        yield Finding("permissions", Level.OK, f"{data} is private.")


def _readable(root: Path) -> Finding:
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        return Finding(
            "models",
            Level.WARNING,
            f"The model folder {root} cannot be read.",
            "Create it, give it to the user of the server, or set NOA_MODELS_DIR.",
        )
    count = sum(1 for _ in root.rglob("*.gguf"))
    return Finding("models", Level.OK, f"{count} GGUF files are in {root}.")


def disk() -> Iterator[Finding]:
    seen: set[int] = set()
    for path in (Path(settings.NOA_DATA_DIR), Path(settings.NOA_MODELS_DIR)):
        if path.exists() and path.stat().st_dev not in seen:
            seen.add(path.stat().st_dev)
            yield diagnosis.disk(str(path), shutil.disk_usage(path).free)


def storage() -> Iterator[Finding]:
    """Whether a table or the data folder is large."""
    try:
        large = [size for size in sizes.measured() if size.is_large]
    except DatabaseError:
        return  # the tables do not exist; the missing migrations are reported already
    for size in large:
        yield Finding("storage", Level.WARNING, size.sentence, sizes.REMEDY)
    if not large:
        yield Finding("storage", Level.OK, "No table and no folder is large.")


def engine() -> Iterator[Finding]:
    try:
        compiled = build.compiled_for()
    except EngineError as error:
        yield Finding("engine", Level.PROBLEM, error.message, "Run 'make setup', which compiles it.")
        return
    yield from diagnosis.engine_build(compiled, build.processor(), cuda=devices.offloads(), gpus=len(devices.gpus()))


def confinement() -> Iterator[Finding]:
    """What of the confinement of runners this kernel, or the container, allows: a process tries it."""
    mode = Mode(settings.NOA_CONFINE)
    if mode is Mode.OFF:
        yield Finding(
            "confinement",
            Level.WARNING,
            "Runners are not confined (NOA_CONFINE=off): a model file that takes one over can read the database.",
            "Set NOA_CONFINE to auto.",
        )
        return
    try:
        missing = probing.missing()
    except EngineError as error:
        yield Finding("confinement", Level.PROBLEM, error.message, "Set NOA_CONFINE=off, and report this.")
        return
    level = Level.PROBLEM if mode is Mode.REQUIRE else Level.WARNING
    for part in missing:
        yield Finding(
            "confinement",
            level,
            f"Runners run without a part of their confinement: {part}.",
            "Use a kernel with Landlock and seccomp (Linux 6.12 has all), and a container that allows them.",
        )
    if not missing:
        yield Finding("confinement", Level.OK, "Runners are confined by Landlock, seccomp and no_new_privs.")


def port() -> Iterator[Finding]:
    host, number = settings.NOA_HOST, settings.NOA_PORT
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
        except OSError as error:
            yield from _taken(host, number, error)
            return
    yield Finding("port", Level.OK, f"{host}:{number} is free; no server runs there.")


def _taken(host: str, number: int, error: OSError) -> Iterator[Finding]:
    if (Path(settings.NOA_DATA_DIR) / "server.lock").exists():
        yield Finding("port", Level.OK, f"The server of this folder is running; {host}:{number} is in use.")
        return
    yield Finding(
        "port",
        Level.PROBLEM,
        f"{host}:{number} cannot be used: {error.strerror}.",
        "Stop the process that listens there, or set NOA_PORT and NOA_HOST.",
    )


def secrets() -> Iterator[Finding]:
    """Whether the configured keys decrypt the secrets of providers."""
    try:
        remote = [row for row in Provider.objects.filter(enabled=True) if providers.is_remote(row)]
    except DatabaseError:
        return  # the tables do not exist; the missing migrations are reported already
    bad = 0
    for provider in remote:
        try:
            providers.endpoint(provider)
        except NoaError as error:
            bad += 1
            yield Finding(
                "secrets",
                Level.PROBLEM,
                f"'{provider.slug}': {error.message}",
                f"Enter its key again: PATCH /api/v1/providers/{provider.slug}, or the console.",
            )
    if not bad:
        yield Finding("secrets", Level.OK, f"The secrets of {len(remote)} providers can be read.")
