"""The transitions between states."""

from __future__ import annotations

from models_app.domain.states import (
    INSTANCE_TRANSITIONS,
    JOB_TRANSITIONS,
    LIVE_INSTANCE_STATES,
    TERMINAL_JOB_STATES,
    InstanceState,
    JobState,
    job_sources_of,
    sources_of,
)


def test_every_state_has_its_transitions() -> None:
    assert set(INSTANCE_TRANSITIONS) == set(InstanceState)
    assert set(JOB_TRANSITIONS) == set(JobState)


def test_final_states_lead_nowhere() -> None:
    assert all(not JOB_TRANSITIONS[state] for state in TERMINAL_JOB_STATES)
    final = {state for state, targets in INSTANCE_TRANSITIONS.items() if not targets}
    assert final == set(InstanceState) - set(LIVE_INSTANCE_STATES)


def test_an_instance_may_fail_from_every_live_state() -> None:
    assert set(sources_of(InstanceState.FAILED)) == set(LIVE_INSTANCE_STATES)


def test_only_a_starting_instance_becomes_ready() -> None:
    assert sources_of(InstanceState.READY) == (InstanceState.STARTING,)


def test_only_a_queued_job_starts() -> None:
    assert job_sources_of(JobState.RUNNING) == (JobState.QUEUED,)
