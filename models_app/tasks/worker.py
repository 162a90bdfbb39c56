"""A Celery worker, with the node's supervisor: beside the web process when embedded, or as its own program."""

from __future__ import annotations

import threading
from typing import Any

from celery import current_app, signals
from celery.worker import WorkController, state
from django.conf import settings
from kombu.transport import get_transport_cls

from models_app.domain.errors import Unavailable
from models_app.services import node
from models_app.services import state as desired_state
from models_app.tasks import queueing, webhooks

# Jobs mostly wait for runners: more of them than processors may run at once.
CONCURRENCY = 8
_READY_SECONDS = 30.0


def take_over_node() -> None:
    """Become the owner of this node's runners, after ending what an earlier owner left."""
    desired_state.clean_up()
    node.start()
    webhooks.sender.start()


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
        self._thread.start()
        if not self._ready.wait(_READY_SECONDS):
            raise Unavailable(f"The embedded worker was not ready after {_READY_SECONDS:g} s.")

    def stop(self) -> None:
        """End all runners first, so that jobs that wait for them end too, then the worker."""
        node.stop()
        webhooks.sender.stop()
        state.should_stop = 0
        get_transport_cls(current_app.connection_for_read().transport_cls).stop_waiting()
        self._thread.join()
        desired_state.clean_up()

    def _run(self) -> None:
        worker = WorkController(
            app=current_app._get_current_object(),
            pool_cls="threads",
            concurrency=CONCURRENCY,
            ready_callback=lambda consumer: self._ready.set(),
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        worker.start()


@signals.worker_init.connect
def _on_worker_init(**_: Any) -> None:
    # The embedded worker does this itself, before it says that it is ready.
    if not settings.NOA_EMBEDDED:
        take_over_node()


@signals.worker_ready.connect
def _on_worker_ready(**_: Any) -> None:
    restore()


@signals.worker_shutting_down.connect
def _on_worker_shutting_down(**_: Any) -> None:
    node.stop()
    webhooks.sender.stop()
