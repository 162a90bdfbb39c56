"""The states of models, instances and jobs, and the allowed transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ModelStatus(StrEnum):
    AVAILABLE = "available"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    FAILED = "failed"


class InstanceState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    SWITCH = "switch"
    DISCOVER = "discover"
    PROBE = "probe"
    PROFILE = "profile"
    RESTORE = "restore"
    DRAIN = "drain"


class ProfileState(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"  # cancelled, failed or cut


INSTANCE_TRANSITIONS: Mapping[InstanceState, frozenset[InstanceState]] = {
    InstanceState.QUEUED: frozenset({InstanceState.STARTING, InstanceState.FAILED, InstanceState.STOPPED}),
    InstanceState.STARTING: frozenset({InstanceState.READY, InstanceState.FAILED, InstanceState.STOPPED}),
    InstanceState.READY: frozenset({InstanceState.DRAINING, InstanceState.FAILED, InstanceState.STOPPED}),
    InstanceState.DRAINING: frozenset({InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.STOPPED: frozenset(),
    InstanceState.FAILED: frozenset(),
}

JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    # Back to the queue when its worker shuts down and has undone the work.
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

# An instance in one of these states can hold a process and memory.
LIVE_INSTANCE_STATES = (
    InstanceState.QUEUED,
    InstanceState.STARTING,
    InstanceState.READY,
    InstanceState.DRAINING,
)
# At most one instance of a model on a node is in one of these at a time (a unique constraint).
SERVING_INSTANCE_STATES = (InstanceState.QUEUED, InstanceState.STARTING, InstanceState.READY)
ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)
TERMINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def sources_of(target: InstanceState) -> tuple[InstanceState, ...]:
    """The states from which an instance can move to `target`."""
    return tuple(state for state, targets in INSTANCE_TRANSITIONS.items() if target in targets)


def job_sources_of(target: JobState) -> tuple[JobState, ...]:
    """The states from which a job can move to `target`."""
    return tuple(state for state, targets in JOB_TRANSITIONS.items() if target in targets)
