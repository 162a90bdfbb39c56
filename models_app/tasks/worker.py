"""A Celery worker, with the node's supervisor: beside the web process when embedded, or as its own program."""

from __future__ import annotations

import logging
import os
import signal as unix_signals
import threading
from time import sleep
from typing import Any

from celery import current_app
from celery import signals as celery_signals
from celery.worker import WorkController, state
from django.conf import settings
from kombu.transport import get_transport_cls

from models_app.domain.errors import Conflict, Unavailable
from models_app.services.access_log import upkeep
from models_app.services.coordination import signals
from models_app.services.coordination.notifications import follower
from models_app.services.desired_state import state as desired_state
from models_app.services.lifecycle import eviction, on_demand
from models_app.services.nodes import nodes
from models_app.services.nodes.nodes import Ownership
from models_app.services.registry import discovery
from models_app.services.runners import health, node, runner_proxy, watchdog
from models_app.tasks import autoswitching, queueing, recovering, webhooks
from models_app.tasks import nodes as lost_nodes
from models_app.tasks.periodic import Look, Rounds
from models_app.tasks.pickup import LOOK_SECONDS, pickup

logger = logging.getLogger(__name__)

_READY_SECONDS = 30.0


_owner: Ownership | None = None


def beat() -> None:
    """The heartbeat. A worker that has lost its node ends: another one may start the same models."""
    owner = _owner
    if owner is not None and not nodes.beat(owner):
        logger.critical("another worker owns the node '%s' now; this one ends", owner.name)
        os.kill(os.getpid(), unix_signals.SIGTERM)


_health = health.Watch()
# What every worker does again and again: name, seconds between two times, what; `alone=True` where one of all
# workers does it.
LOOKS = (
    Look("heartbeat", lambda: nodes.HEARTBEAT_SECONDS, beat),
    Look("health", _health.pause, _health.look),
    Look("lost-nodes", lambda: lost_nodes.LOOK_SECONDS, lost_nodes.look, alone=True),
    Look("strays", lambda: nodes.HEARTBEAT_SECONDS, node.end_strays),
    Look("recovery", lambda: recovering.LOOK_SECONDS, recovering.look),
    Look("watchdog", lambda: watchdog.LOOK_SECONDS, watchdog.Watch().look),
    Look("lost-jobs", lambda: watchdog.LOOK_SECONDS, watchdog.end_lost_jobs, alone=True),
    Look("queued-jobs", lambda: LOOK_SECONDS, pickup.look),
    Look("spools", lambda: upkeep.SPOOL_SECONDS, upkeep.recover_spools),
    Look("retention", lambda: upkeep.RETENTION_SECONDS, upkeep.retain, alone=True),
    Look("auto-switch", lambda: autoswitching.LOOK_SECONDS, autoswitching.look, alone=True),
    Look("demand", lambda: on_demand.TIDY_SECONDS, on_demand.tidy, alone=True),
    Look("idle", lambda: eviction.LOOK_SECONDS, eviction.unload_idle),
)
rounds = Rounds(LOOKS)


def _on_recovery_due(**_: Any) -> None:
    rounds.stir("recovery")


def _on_stir(**_: Any) -> None:
    rounds.stir("queued-jobs")


def begin_rounds() -> None:
    signals.job_finished.connect(recovering.on_job_finished)
    signals.recovery_due.connect(_on_recovery_due)
    signals.database_changed.connect(_on_stir)
    rounds.start()


def end_rounds() -> None:
    signals.job_finished.disconnect(recovering.on_job_finished)
    signals.recovery_due.disconnect(_on_recovery_due)
    signals.database_changed.disconnect(_on_stir)
    rounds.stop()


def take_over_node() -> None:
    """Become the owner of this node's runners, after ending what an earlier owner left.

    Raises Conflict while another worker of the same name lives.
    """
    global _owner
    _owner = nodes.take(wait=sleep)
    desired_state.clean_up()
    node.start()
    runner_proxy.start()
    webhooks.sender.start()
    begin_rounds()
    follower.start()


def leave_node() -> None:
    """End all runners first, so that jobs that wait for them end too."""
    follower.stop()
    node.stop()
    runner_proxy.stop()
    end_rounds()
    webhooks.sender.stop()


def release_node() -> None:
    """The next worker of this node need not wait until this one is taken for dead."""
    global _owner
    owner, _owner = _owner, None
    if owner is not None:
        nodes.leave(owner)


def restore() -> None:
    """Ask for every model that should be loaded."""
    for job in desired_state.wanted_loads():
        queueing.enqueue(job)


class EmbeddedWorker:
    """A worker on a thread of this process. One per process."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="noa-worker", daemon=True)

    def start(self) -> None:
        """Returns when the worker takes tasks; raises Unavailable when it does not come up."""
        take_over_node()
        queueing.has_embedded_worker = True
        self._thread.start()
        if not self._ready.wait(_READY_SECONDS):
            raise Unavailable(f"The embedded worker was not ready after {_READY_SECONDS:g} s.")

    def stop(self) -> None:
        """End the runners and what comes again and again, then the worker."""
        queueing.has_embedded_worker = False
        leave_node()
        state.should_stop = 0
        get_transport_cls(current_app.connection_for_read().transport_cls).stop_waiting()
        self._thread.join()
        desired_state.clean_up()
        release_node()

    def _run(self) -> None:
        worker = WorkController(
            app=current_app._get_current_object(),
            ready_callback=lambda consumer: self._ready.set(),
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        worker.start()


@celery_signals.worker_init.connect
def _on_worker_init(**_: Any) -> None:
    # The embedded worker does this itself, before it says that it is ready.
    if not settings.NOA_EMBEDDED:
        try:
            take_over_node()
        except Conflict as error:
            # Celery goes on after any Exception of a receiver.
            raise SystemExit(f"noa: {error.message}") from error


@celery_signals.worker_ready.connect
def _on_worker_ready(**_: Any) -> None:
    if not settings.NOA_EMBEDDED:
        # The others must know what can be loaded here. An embedded server does it while it starts.
        queueing.enqueue(discovery.here(name=settings.NOA_NODE, actor="worker"))
    restore()


@celery_signals.worker_shutting_down.connect
def _on_worker_shutting_down(**_: Any) -> None:
    if not settings.NOA_EMBEDDED:
        leave_node()


@celery_signals.worker_shutdown.connect
def _on_worker_shutdown(**_: Any) -> None:
    if not settings.NOA_EMBEDDED:
        desired_state.clean_up()
        release_node()
