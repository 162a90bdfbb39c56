"""Readiness checks of a web process: '' when a dependency answers, else the reason as a sentence; and whether a request
for a model would be answered.

Each function can block as long as its dependency does: the caller sets the time-out
(`models_app.gateway.edge.readiness`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError

from models_app.domain.errors import NoaError, RunnerDied
from models_app.domain.residency.demand import EVERYTHING, Permission
from models_app.domain.residency.health import Health
from models_app.domain.residency.readiness import PartReport, PartState, failed
from models_app.domain.traffic.routing import ModelEntry, RemoteEndpoint, Snapshot, Target
from models_app.engines import control
from models_app.models import Instance, Node
from models_app.services.nodes import nodes
from models_app.services.runners import health

# Below the caller's time-out, so that the error names the dependency that does not answer.
_ANSWER_SECONDS = 1.5

# The model is being unloaded: requests find it not loaded a moment later.
_DRAINING = "draining"


def database() -> str:
    try:
        Node.objects.exists()
    except DatabaseError as error:
        return f"The database does not answer: {_first_line(error)}."
    return ""


def broker() -> str:
    if settings.NOA_EMBEDDED:
        return ""  # in this machine's memory, beside the worker
    # Redis accepts connections even when it hangs: only an answer shows that it works.
    timeouts = {"socket_timeout": _ANSWER_SECONDS, "socket_connect_timeout": _ANSWER_SECONDS}
    options = timeouts if settings.CELERY_BROKER_URL.startswith("redis") else {}
    link = current_app.connection_for_write(settings.CELERY_BROKER_URL, transport_options=options)
    try:
        with link:
            link.ensure_connection(max_retries=0, timeout=_ANSWER_SECONDS)
            if options:
                link.default_channel.client.ping()
    except (OSError, OperationalError, *link.connection_errors) as error:
        return f"The broker does not answer: {_first_line(error)}."
    return ""


def worker() -> str:
    """Requires the heartbeat of at least one worker; with an embedded worker, that of this machine."""
    try:
        rows = Node.objects.filter(pid__isnull=False)
        if settings.NOA_EMBEDDED:
            rows = rows.filter(name=settings.NOA_NODE)
        names = set(rows.values_list("name", flat=True))
        stale = nodes.stale()
    except DatabaseError:
        return "Unknown: the database does not answer."
    if not names:
        return "No worker has started."
    if names <= stale.keys():
        name = min(names, key=lambda node: stale[node])
        return f"The last heartbeat of the worker of node '{name}' arrived {stale[name]:.0f} seconds ago."
    return ""


def schema() -> str:
    """Requires the tables as this version's code expects them. Once they are, they stay so: later calls send no query.

    A database that does not answer is the matter of `database`, and before the first snapshot that of `snapshot`.
    """
    if _schema.is_current:
        return ""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return ""
    if plan:
        return f"{len(plan)} migrations are not applied; the first is {plan[0][0]}. Run 'manage.py migrate'."
    _schema.is_current = True
    return ""


class _Schema:
    is_current = False


_schema = _Schema()


def snapshot(current: Snapshot) -> str:
    """Requires that routes, models and keys were read once. The gateway serves from them while the database is away."""
    return "" if current.revision >= 0 else "Routes, models and API keys have not been read from the database yet."


@dataclass(frozen=True, slots=True)
class Outside:
    """What other rooms and floors know about a request.

    obstacle      the error of a request for a model that is not loaded, with what it may load; None if it is answered
    provider_wait  seconds for which a provider gets no requests from this process
    """

    obstacle: Callable[[str, Permission], NoaError | None]
    provider_wait: Callable[[RemoteEndpoint], float]


def answers(current: Snapshot, name: str, outside: Outside) -> PartReport:
    """Whether a request with `model: name` would be answered: by its target, a fallback, or a model that it loads."""
    found = current.resolve(name)
    if found is None:
        return failed(f"There is no route or model '{name[:100]}'.")
    if found.model is None:
        return PartReport(PartState.UNSET, f"The route '{name}' has no target.")
    own = _of_model(found.model, current.permissions.get(found.route or "", EVERYTHING), outside)
    if own.state is PartState.OK:
        return own
    # A request tries loaded fallbacks before it waits for the target.
    for key in current.fallbacks.get(found.route or "", ()):
        fallback = current.models.get(key)
        if fallback is not None and fallback.target is not None and not _failure(fallback, outside):
            return PartReport(PartState.OK, f"The fallback '{key}' answers. {own.why}")
    return own


def _of_model(entry: ModelEntry, permission: Permission, outside: Outside) -> PartReport:
    if entry.target is not None and (reason := _failure(entry, outside)) != _DRAINING:
        return failed(reason)
    if entry.back_at is not None:
        return PartReport(PartState.RECOVERING, f"'{entry.key}' is being recovered, and requests wait for it.")
    try:
        obstacle = outside.obstacle(entry.key, entry.permission & permission)
    except DatabaseError:
        return failed(f"'{entry.key}' is not loaded, and the database does not answer.")
    if obstacle is not None:
        return failed(f"'{entry.key}' is not loaded, and requests do not load it: {obstacle.message}")
    missing = worker()
    if missing:
        return failed(f"'{entry.key}' is not loaded, and nothing can load it. {missing}")
    return PartReport(PartState.COLD, f"'{entry.key}' is cold: the next request loads it.")


def _failure(entry: ModelEntry, outside: Outside) -> str:
    """'' if one copy of a loaded model answers, else the reason of the first."""
    assert entry.target is not None
    reason = ""
    for target in (entry.target, *entry.others):
        found = _reason(target, outside)
        if not found:
            return ""
        reason = reason if reason not in ("", _DRAINING) else found
    return reason


def _reason(target: Target, outside: Outside) -> str:
    if target.remote is not None:
        wait = outside.provider_wait(target.remote)
        provider = target.remote.provider
        return f"The provider '{provider}' failed, and gets no requests for {math.ceil(wait)} s." if wait > 0 else ""
    if target.address:
        return _is_reported_healthy(target)
    try:
        state = control.health(target.socket, timeout=_ANSWER_SECONDS).get("state")
    except RunnerDied as error:
        return f"'{target.key}' does not answer: {error.message}"
    return _DRAINING if state == "draining" else ""


def _is_reported_healthy(target: Target) -> str:
    """Check a runner on another machine by the health that its worker reported."""
    try:
        instance = Instance.objects.filter(pk=target.instance_id).first()
        if instance is None:
            return f"'{target.key}' is not loaded any more."
        shown = health.shown(instance=instance, stale=nodes.stale(), answers=None)
    except DatabaseError:
        return "Unknown: the database does not answer."
    return "" if shown.state == Health.HEALTHY else f"'{target.key}': {shown.reason}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
