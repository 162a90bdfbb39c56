"""A Celery worker, with the node's supervisor: in the web process when embedded, or as a separate program."""

from __future__ import annotations

import logging
import os
import signal as unix_signals
import threading
from pathlib import Path
from time import sleep
from typing import Any

from celery import current_app
from celery import signals as celery_signals
from celery.worker import WorkController, state
from django.conf import settings
from kombu.transport import get_transport_cls

from models_app import clocks
from models_app.domain.errors import Conflict, Unavailable
from models_app.engines import descriptors
from models_app.services.access_log import upkeep
from models_app.services.coordination import data_folder, signals
from models_app.services.coordination.notifications import follower
from models_app.services.desired_state import state as desired_state
from models_app.services.lifecycle import eviction, on_demand
from models_app.services.nodes import nodes
from models_app.services.nodes.nodes import Ownership
from models_app.services.nodes.observing import observer
from models_app.services.registry import discovery
from models_app.services.retention import deleting
from models_app.services.runners import health, node, runner_proxy, watchdog
from models_app.tasks import autoswitching, queueing, recovering, webhooks
from models_app.tasks import nodes as lost_nodes
from models_app.tasks.periodic import PeriodicTask, Scheduler
from models_app.tasks.pickup import INTERVAL_SECONDS, pickup

logger = logging.getLogger(__name__)

_READY_SECONDS = 30.0

_owner: Ownership | None = None


def heartbeat() -> None:
    """Renew the lease of this node. A worker that has lost its node ends: the new owner can start the same models."""
    owner = _owner
    if owner is not None and not nodes.heartbeat(owner):
        logger.critical("another worker owns the node '%s' now; this one stops", owner.name)
        os.kill(os.getpid(), unix_signals.SIGTERM)


_health = health.Watch()
PERIODIC_TASKS = (
    PeriodicTask("heartbeat", lambda: nodes.HEARTBEAT_SECONDS, heartbeat),
    PeriodicTask("health", _health.pause, _health.check_all),
    PeriodicTask("lost-nodes", lambda: lost_nodes.INTERVAL_SECONDS, lost_nodes.recover_lost, alone=True),
    PeriodicTask("orphans", lambda: nodes.HEARTBEAT_SECONDS, node.end_orphans),
    PeriodicTask("recovery", lambda: recovering.INTERVAL_SECONDS, recovering.start_due),
    PeriodicTask("watchdog", lambda: watchdog.INTERVAL_SECONDS, watchdog.Watch().check),
    PeriodicTask("lost-jobs", lambda: watchdog.INTERVAL_SECONDS, watchdog.end_lost_jobs, alone=True),
    PeriodicTask("queued-jobs", lambda: INTERVAL_SECONDS, pickup.poll),
    PeriodicTask("spools", lambda: upkeep.SPOOL_SECONDS, upkeep.recover_spools),
    PeriodicTask("retention", lambda: upkeep.RETENTION_SECONDS, deleting.retain, alone=True),
    PeriodicTask("auto-switch", lambda: autoswitching.INTERVAL_SECONDS, autoswitching.decide_all, alone=True),
    PeriodicTask("demand", lambda: on_demand.CLEAN_UP_SECONDS, on_demand.clean_up, alone=True),
    PeriodicTask("idle", lambda: eviction.INTERVAL_SECONDS, eviction.unload_idle),
)
scheduler = Scheduler(PERIODIC_TASKS)


def _on_recovery_due(**_: Any) -> None:
    scheduler.trigger("recovery")


def _on_database_changed(**_: Any) -> None:
    scheduler.trigger("queued-jobs")


def start_scheduler() -> None:
    signals.job_finished.connect(recovering.on_job_finished)
    signals.recovery_due.connect(_on_recovery_due)
    signals.database_changed.connect(_on_database_changed)
    observer.start()
    scheduler.start()


def stop_scheduler() -> None:
    signals.job_finished.disconnect(recovering.on_job_finished)
    signals.recovery_due.disconnect(_on_recovery_due)
    signals.database_changed.disconnect(_on_database_changed)
    scheduler.stop()
    observer.stop()


def take_over_node() -> None:
    """Become the owner of this node's runners, after ending those that an earlier owner left.

    Raises Conflict while another worker of the same name is alive.
    """
    global _owner
    _owner = nodes.take(wait=sleep)
    desired_state.clean_up()
    node.start()
    runner_proxy.start()
    webhooks.sender.start()
    start_scheduler()
    follower.start()


def leave_node() -> None:
    """Stop this node. Runners end first, so that jobs that wait for them end too."""
    lost_nodes.restored.clear()
    follower.stop()
    node.stop()
    runner_proxy.stop()
    stop_scheduler()
    webhooks.sender.stop()


def release_node() -> None:
    """Release the lease, so that the next worker of this node need not wait until it expires."""
    global _owner
    owner, _owner = _owner, None
    if owner is not None:
        nodes.leave(owner)


def restore() -> None:
    """Queue a load of every model that should be loaded."""
    for job in desired_state.wanted_loads():
        queueing.enqueue(job)
    lost_nodes.restored.set()


class EmbeddedWorker:
    """A worker on a thread of this process. One per process."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="noa-worker", daemon=True)

    def start(self) -> None:
        """Returns once the worker accepts tasks; raises Unavailable when it does not start in time."""
        take_over_node()
        queueing.has_embedded_worker = True
        self._thread.start()
        if not clocks.wait(self._ready, _READY_SECONDS):
            raise Unavailable(f"The embedded worker was not ready after {_READY_SECONDS:g} s.")

    def stop(self) -> None:
        """Stop the runners and the periodic tasks, then the worker."""
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
    # The embedded worker does this itself, before it reports that it is ready.
    if not settings.NOA_EMBEDDED:
        # The embedded worker's process has done so. Runners and the connections of other machines need descriptors.
        descriptors.raise_limit()
        try:
            data_folder.secure(Path(settings.NOA_DATA_DIR))
            take_over_node()
        except Conflict as error:
            # Celery continues after any Exception in a receiver.
            raise SystemExit(f"noa: {error.message}") from error


@celery_signals.worker_ready.connect
def _on_worker_ready(**_: Any) -> None:
    if not settings.NOA_EMBEDDED:
        # Other processes need the list of models on this node. An embedded server discovers them while it starts.
        queueing.enqueue(discovery.of_node(name=settings.NOA_NODE, actor="worker"))
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
