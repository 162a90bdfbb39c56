"""What a web process needs to do its work: '' when it is there, else why not, as a sentence.

Each function may hang as long as what it asks does: the caller has the patience (`models_app.gateway.edge.readiness`).
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

# Below the patience of who asks, so that what does not answer is named.
_ANSWER_SECONDS = 1.5


def database() -> str:
    try:
        Node.objects.exists()
    except DatabaseError as error:
        return f"The database does not answer: {_first_line(error)}."
    return ""


def broker() -> str:
    if settings.NOA_EMBEDDED:
        return ""  # it is in this machine's memory, beside the worker
    # Redis accepts connections as long as its machine does: only an answer tells that it works.
    patience = {"socket_timeout": _ANSWER_SECONDS, "socket_connect_timeout": _ANSWER_SECONDS}
    options = patience if settings.CELERY_BROKER_URL.startswith("redis") else {}
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
    """At least one worker must be heard of; in the embedded shape this machine's own."""
    try:
        rows = Node.objects.filter(pid__isnull=False)
        if settings.NOA_EMBEDDED:
            rows = rows.filter(name=settings.NOA_NODE)
        names = set(rows.values_list("name", flat=True))
        silent = nodes.silent()
    except DatabaseError:
        return "Nobody knows: the database does not answer."
    if not names:
        return "No worker has started."
    if names <= silent.keys():
        name = min(names, key=lambda one: silent[one])
        return f"The worker of node '{name}' was last heard of {silent[name]:.0f} seconds ago."
    return ""


def current(snapshot: Snapshot) -> str:
    """Whether the model answers that `current` leads to. Where it leads nowhere, nothing was promised."""
    key = snapshot.routes.get(CURRENT_ROUTE)
    entry = snapshot.models.get(key) if key else None
    if entry is None:
        return ""
    if entry.target is None:
        how = "being brought back" if entry.back_at else "not loaded"
        return f"'{entry.key}', to which '{CURRENT_ROUTE}' leads, is {how}."
    return _answers(entry.target)


def _answers(target: Target) -> str:
    if target.remote is not None:
        return ""  # its provider's circuit breaker decides, for each request
    if target.address:
        return _is_known_to_answer(target)
    try:
        control.health(target.socket, timeout=_ANSWER_SECONDS)
    except RunnerDied as error:
        return f"'{target.key}' does not answer: {error.message}"
    return ""


def _is_known_to_answer(target: Target) -> str:
    """Of a runner on another machine its own worker knows."""
    try:
        instance = Instance.objects.filter(pk=target.instance_id).first()
        if instance is None:
            return f"'{target.key}' is not loaded any more."
        shown = health.shown(instance=instance, silent=nodes.silent(), answers=None)
    except DatabaseError:
        return "Nobody knows: the database does not answer."
    return "" if shown.state == Health.HEALTHY else f"'{target.key}': {shown.reason}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
