"""This process as a node: the supervisor of its runners. Only a worker has one."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from django.conf import settings
from django.db import connection

from models_app.domain.errors import Unavailable
from models_app.domain.states import InstanceState
from models_app.engines.process import RunnerProcess
from models_app.engines.supervisor import Supervisor
from models_app.models import Instance
from models_app.services.runners import recovery

logger = logging.getLogger(__name__)

# The time between SIGTERM and SIGKILL for a runner whose requests have finished.
STOP_GRACE = 5.0
# The path of a unix socket can have 107 bytes, of which the folder and the file name take up to 50.
_MAX_BASE_BYTES = 57

_supervisor: Supervisor | None = None


def start() -> Supervisor:
    """Start the supervisor; call once, in a worker."""
    global _supervisor
    _supervisor = Supervisor(
        command=settings.NOA_RUNNER_COMMAND,
        folder=_run_folder(),
        on_death=_on_death,
        confine=settings.NOA_CONFINE,
    )
    _supervisor.start()
    return _supervisor


def stop() -> None:
    """End all runners of this node within one shared grace period."""
    global _supervisor
    if _supervisor is not None:
        _supervisor.close(grace=STOP_GRACE)
        _supervisor = None


def supervisor() -> Supervisor:
    if _supervisor is None:
        raise Unavailable("This process owns no runners: it is not a worker, or it is stopping.")
    return _supervisor


def runner(*, instance_id: str) -> RunnerProcess | None:
    """A runner of this node; None for other nodes' runners, and in a process that owns none."""
    return _supervisor.get(instance_id) if _supervisor is not None else None


def end_orphans() -> None:
    """End runners whose instances have ended: other nodes can have loaded their models while this one was cut off."""
    owned = _supervisor.ids() if _supervisor is not None else []
    over = (InstanceState.STOPPED, InstanceState.FAILED)
    for pk in Instance.objects.filter(pk__in=owned, state__in=over).values_list("pk", flat=True):
        logger.warning("ended the orphaned runner of %s, whose instance has ended", pk)
        end_runner(instance_id=str(pk), grace=STOP_GRACE)


def end_runner(*, instance_id: str, grace: float) -> None:
    """End a runner of this node, if it exists."""
    if _supervisor is not None:
        _supervisor.stop(instance_id, grace=grace)


def _run_folder() -> Path:
    """A private folder of this node, in the user's runtime folder unless that makes socket paths too long."""
    owner = f"{Path(settings.NOA_DATA_DIR).resolve()}|{settings.NOA_NODE}"
    name = f"noa-{os.getuid()}-{hashlib.sha256(owner.encode()).hexdigest()[:10]}"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base or len(os.fsencode(base)) > _MAX_BASE_BYTES:
        base = tempfile.gettempdir()
    return Path(base) / name


def _on_death(instance_id: str, how: str, tail: str) -> None:
    """Record the failure of a ready runner that ended by itself."""
    try:
        instance = Instance.objects.select_related("model").get(pk=instance_id)
        if instance.state not in (InstanceState.READY, InstanceState.DRAINING):
            return  # the load that waits for its start reports it
        recovery.fail(
            instance=instance,
            what=f"runner {how}",
            reason=f"The runner {how}. Its last lines:\n{tail}",
            actor="supervisor",
            data={"log": tail},
        )
    finally:
        connection.close()
