"""Readiness checks of a web process: '' when a dependency answers, else the reason as a sentence.

Each function can block as long as its dependency does: the caller sets the time-out
(`models_app.gateway.edge.readiness`).
"""

from __future__ import annotations

from celery import current_app
from django.conf import settings
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from models_app.domain.errors import RunnerDied
from models_app.domain.residency.health import Health
from models_app.domain.traffic.routing import CURRENT_ROUTE, Snapshot, Target
from models_app.engines import control
from models_app.models import Instance, Node
from models_app.services.nodes import nodes
from models_app.services.runners import health

# Below the caller's time-out, so that the error names the dependency that does not answer.
_ANSWER_SECONDS = 1.5


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


def current(snapshot: Snapshot) -> str:
    """Whether the model behind `current` answers; a route without a target is not checked."""
    key = snapshot.routes.get(CURRENT_ROUTE)
    entry = snapshot.models.get(key) if key else None
    if entry is None:
        return ""
    if entry.target is None:
        how = "being recovered" if entry.back_at else "not loaded"
        return f"'{entry.key}', the target of '{CURRENT_ROUTE}', is {how}."
    return _answers(entry.target)


def _answers(target: Target) -> str:
    if target.remote is not None:
        return ""  # its provider's circuit breaker decides, for each request
    if target.address:
        return _is_reported_healthy(target)
    try:
        control.health(target.socket, timeout=_ANSWER_SECONDS)
    except RunnerDied as error:
        return f"'{target.key}' does not answer: {error.message}"
    return ""


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
