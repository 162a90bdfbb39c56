"""Loads on demand of requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import time
from typing import Any

import pytest
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.demand import EVERYTHING, NOTHING, ModelDemand, Permission
from models_app.domain.residency.ledger import LedgerCause
from models_app.domain.residency.suspects import FORGOTTEN_SECONDS, TRIAL_SECONDS, Death
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.models import Demand, Instance, Job, Recovery, RegisteredModel, Suspect
from models_app.services.jobs import jobs
from models_app.services.lifecycle import commands, demand, on_demand
from models_app.services.routes import routing, suspects
from models_app.services.runners import instances
from tests.services.served import KEY, registered_model, with_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> RegisteredModel:
    return registered_model()


def want(permission: Permission = EVERYTHING, waiting: int = 1) -> ModelDemand:
    return ModelDemand(KEY, waiting, timezone.now().timestamp(), permission, "request-1")


def fail(job: Job, code: str) -> None:
    jobs.end(
        job_id=str(job.pk),
        state=JobState.FAILED,
        error_code=code,
        error_message="It did not work.",
    )


def test_whoever_asks_first_causes_one_load_for_all(model: RegisteredModel) -> None:
    first = on_demand.attend(model_demand=want(Permission(load=True, evict=False)))
    assert first.created and first.job is not None
    assert (first.job.kind, first.job.subject) == (JobKind.LOAD, KEY)
    assert (first.job.actor, first.job.cause) == ("gateway", LedgerCause.REQUEST)
    assert (first.job.request_id, first.job.may_evict) == ("request-1", False)
    second = on_demand.attend(model_demand=want())
    assert not second.created and second.job == first.job
    assert Job.objects.count() == 1


def test_a_load_with_other_options_is_as_good(model: RegisteredModel) -> None:
    job, _ = commands.request_load(key=KEY, options=LoadOptions(n_ctx=512), actor="key:ci")
    found = on_demand.attend(model_demand=want())
    assert (found.job, found.created) == (job, False)
    assert found.outlook.failure is None


def test_nothing_is_loaded_for_those_who_may_not(model: RegisteredModel) -> None:
    found = on_demand.attend(model_demand=want(NOTHING))
    assert found.outlook.failure is not None
    assert found.outlook.failure.code == "model_not_loaded"
    assert not Job.objects.exists()


def test_those_who_may_not_load_wait_for_a_load_that_is_under_way(model: RegisteredModel) -> None:
    commands.request_load(key=KEY, options=LoadOptions(), actor="key:ci")
    assert on_demand.attend(model_demand=want(NOTHING)).outlook.failure is None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("load_failed", 502),
        ("load_timeout", 502),
        ("insufficient_memory", 507),
        ("no_room_in_time", 503),
        ("file_not_found", 422),
        ("load_cancelled", 503),
        ("interrupted", 503),
    ],
)
def test_how_a_load_ended_is_told_to_those_who_waited_for_it(model: RegisteredModel, code: str, status: int) -> None:
    job = on_demand.attend(model_demand=want()).job
    assert job is not None
    fail(job, code)
    failure = on_demand.attend(model_demand=want(), job_id=job.pk).outlook.failure
    assert failure is not None
    assert (failure.code, failure.http_status) == (code, status)
    assert failure.message == "It did not work."


def test_what_failed_a_moment_ago_is_not_tried_again_for_each_request(
    model: RegisteredModel,
) -> None:
    job = on_demand.attend(model_demand=want()).job
    assert job is not None
    fail(job, "load_failed")
    failure = on_demand.attend(model_demand=want()).outlook.failure
    assert failure is not None and failure.code == "load_failed"
    Job.objects.update(finished_at=timezone.now() - timedelta(seconds=11))
    assert on_demand.attend(model_demand=want()).created


def test_what_was_cancelled_is_tried_again_at_once(model: RegisteredModel) -> None:
    job = on_demand.attend(model_demand=want()).job
    assert job is not None
    jobs.cancel(job_id=job.pk, actor="user:ann")
    told = on_demand.attend(model_demand=want(), job_id=job.pk).outlook.failure
    assert told is not None and told.http_status == 503
    assert on_demand.attend(model_demand=want()).created


def test_a_model_that_was_taken_out_is_told(model: RegisteredModel) -> None:
    model.delete()
    failure = on_demand.attend(model_demand=want()).outlook.failure
    assert failure is not None and failure.code == "model_not_found"


def test_how_long_it_takes_is_known_from_earlier_loads(model: RegisteredModel) -> None:
    for seconds in (3.0, 40.0, 5.0):
        Instance.objects.create(
            model=model,
            version=model.version,
            node="local",
            state=InstanceState.STOPPED,
            load_seconds=seconds,
            ready_at=timezone.now(),
        )
    assert on_demand.attend(model_demand=want()).outlook.seconds == 5.0


def test_nobody_knows_how_long_the_first_load_takes(model: RegisteredModel) -> None:
    assert on_demand.attend(model_demand=want()).outlook.seconds is None


def test_a_load_that_nobody_waits_for_is_cancelled_before_it_begins(
    model: RegisteredModel,
) -> None:
    on_demand.attend(model_demand=want())
    demand.publish(process="other", demands=[want()])
    assert on_demand.leave(key=KEY) is None, "somebody else waits for it"
    demand.publish(process="other", demands=[])
    cancelled = on_demand.leave(key=KEY)
    assert cancelled is not None and cancelled.state == JobState.CANCELLED


def test_a_load_that_has_begun_is_kept(model: RegisteredModel) -> None:
    job = on_demand.attend(model_demand=want()).job
    assert job is not None
    steps = [{"name": "check", "state": "done"}, {"name": "start", "state": "running"}]
    Job.objects.filter(pk=job.pk).update(state=JobState.RUNNING, steps=steps)
    assert on_demand.leave(key=KEY) is None


def test_a_load_that_somebody_else_asked_for_is_kept(model: RegisteredModel) -> None:
    commands.request_load(key=KEY, options=LoadOptions(), actor="key:ci")
    assert on_demand.leave(key=KEY) is None


def test_what_all_processes_wait_for_is_counted(model: RegisteredModel) -> None:
    demand.publish(process="one", demands=[want(waiting=3)])
    demand.publish(process="two", demands=[want(waiting=4)])
    assert demand.waiting()[model.pk].count == 7
    demand.publish(process="one", demands=[want(waiting=1)])
    assert demand.waiting()[model.pk].count == 5
    # SQLite's clock counts whole milliseconds.
    Demand.objects.filter(process="two").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert demand.waiting()[model.pk].count == 1, "the other process is silent"
    demand.publish(process="one", demands=[])
    assert demand.waiting() == {}
    on_demand.clean_up()
    assert not Demand.objects.exists()


def died(model: RegisteredModel, digest: str = "d" * 64, how: str = "was killed by SIGSEGV") -> None:
    instance = Instance.objects.create(model=model, version=model.version, node="local", state=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    on_demand.died(death=Death(KEY, str(instance.pk), digest, "request-1"))
    instances.move(
        instance=instance,
        to=InstanceState.FAILED,
        failure_stage="serve",
        failure_reason=f"The runner {how}. Its last lines:\n",
    )


def test_a_request_that_killed_two_runners_is_refused(model: RegisteredModel) -> None:
    died(model)
    died(model, digest="e" * 64)
    assert routing.snapshot().killers == {}
    died(model)
    assert set(routing.snapshot().killers[KEY]) == {"d" * 64}


@pytest.mark.parametrize("how", ["was killed by SIGKILL", "was killed by SIGTERM", "exited with code 0", "went away"])
def test_what_ends_a_runner_from_outside_is_no_requests_fault(model: RegisteredModel, how: str) -> None:
    died(model, how=how)
    died(model, how=how)
    assert routing.snapshot().killers == {}


def test_a_killer_is_forgotten_after_a_while(model: RegisteredModel) -> None:
    died(model)
    died(model)
    Suspect.objects.update(at=timezone.now() - timedelta(seconds=FORGOTTEN_SECONDS + 1))
    assert routing.snapshot().killers == {}
    on_demand.clean_up()
    assert not Suspect.objects.exists()


def test_another_version_of_the_model_is_not_killed(model: RegisteredModel) -> None:
    died(model)
    died(model)
    with_version(model, "b" * 64)
    assert routing.snapshot().killers == {}


@pytest.mark.parametrize(
    "changes",
    [{"on_demand": False}, {"gone_at": timezone.now()}, {"version": None}],
    ids=["by_its_entry", "gone", "no_file"],
)
def test_what_a_request_may_not_load_is_in_the_snapshot(model: RegisteredModel, changes: dict[str, Any]) -> None:
    assert routing.snapshot().models[KEY].permission.load
    RegisteredModel.objects.update(**changes)
    assert not routing.snapshot().models[KEY].permission.load


def test_nothing_is_loaded_on_demand_where_that_is_off(model: RegisteredModel, settings: Any) -> None:
    settings.NOA_ON_DEMAND = False
    assert routing.snapshot().models[KEY].permission == NOTHING


def recovery_of(model: RegisteredModel, **fields: Any) -> Recovery:
    return Recovery.objects.create(model=model, node="local", **fields)


def test_a_model_that_is_brought_back_is_waited_for(model: RegisteredModel) -> None:
    now = timezone.now()
    recovery_of(model, due_at=now, back_at=now + timedelta(seconds=9), deaths=[now.timestamp()])
    found = on_demand.attend(model_demand=want())
    assert found.job is None and found.outlook.seconds == pytest.approx(9, abs=1)


def test_a_model_that_was_given_up_is_not_loaded_by_requests(model: RegisteredModel) -> None:
    now = timezone.now()
    recovery_of(model, given_up_at=now, deaths=[now.timestamp()])
    failure = on_demand.attend(model_demand=want()).outlook.failure
    assert failure is not None and failure.code == "recovery_given_up"


def test_what_only_requests_want_is_loaded_again_with_growing_pauses(
    model: RegisteredModel,
) -> None:
    now = timezone.now().timestamp()
    row = recovery_of(model, deaths=[now - 1])
    first = on_demand.attend(model_demand=want())
    assert first.created, "one death costs no pause"
    Job.objects.all().delete()
    Recovery.objects.filter(pk=row.pk).update(deaths=[now - 3, now - 2, now - 1, now])
    found = on_demand.attend(model_demand=want())
    assert found.job is None and found.outlook.seconds == pytest.approx(4, abs=1)
    Recovery.objects.filter(pk=row.pk).update(deaths=[now - n for n in range(5)])
    failure = on_demand.attend(model_demand=want()).outlook.failure
    assert failure is not None and failure.code == "recovery_given_up"


def _loading(model: RegisteredModel) -> None:
    commands.request_load(key=KEY, options=LoadOptions(), actor="key:ci")


def _failed_a_moment_ago(model: RegisteredModel) -> None:
    job, _ = commands.request_load(key=KEY, options=LoadOptions(), actor="key:ci")
    fail(job, "load_failed")


def _died_often(model: RegisteredModel) -> None:
    now = timezone.now()
    recovery_of(model, given_up_at=now, deaths=[now.timestamp()])


def _recovering(model: RegisteredModel) -> None:
    now = timezone.now()
    recovery_of(model, due_at=now, back_at=now + timedelta(seconds=9), deaths=[now.timestamp()])


@pytest.mark.parametrize("permission", [EVERYTHING, Permission(load=True, evict=False), NOTHING])
@pytest.mark.parametrize("before", [None, _loading, _failed_a_moment_ago, _died_often, _recovering])
def test_the_forecast_for_a_request_is_what_a_request_gets(
    model: RegisteredModel, before: Callable[[RegisteredModel], None] | None, permission: Permission
) -> None:
    if before is not None:
        before(model)
    jobs_before = Job.objects.count()
    forecast = on_demand.obstacle(key=KEY, permission=permission)
    assert Job.objects.count() == jobs_before, "the forecast loads nothing"
    failure = on_demand.attend(model_demand=want(permission)).outlook.failure
    assert (forecast and forecast.code) == (failure and failure.code)


def test_there_is_no_forecast_for_an_unknown_model() -> None:
    found = on_demand.obstacle(key="llama.cpp:gone", permission=EVERYTHING)
    assert found is not None and found.code == "model_not_found"


def on_trial(model: RegisteredModel, how: str, *digests: str) -> list[Death]:
    """The requests that were in flight when a runner of this model ended."""
    instance = Instance.objects.create(model=model, version=model.version, node="local", state=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    deaths = [Death(KEY, str(instance.pk), digest, "request-1") for digest in digests]
    for death in deaths:
        on_demand.died(death=death)
    assert not suspects.may_retry(death=deaths[0]), "its outcome is not known yet"
    reason = f"The runner {how}. Its last lines:\n"
    instances.move(instance=instance, to=InstanceState.FAILED, failure_reason=reason)
    return deaths


def test_after_a_crash_one_suspect_follows_the_other(model: RegisteredModel) -> None:
    first, second = on_trial(model, "was killed by SIGABRT", "a" * 64, "b" * 64)
    trials = routing.snapshot().trials[KEY]
    assert trials.crashed == dict.fromkeys(("a" * 64, "b" * 64), first.instance_id)
    assert trials.until > time()
    assert suspects.may_retry(death=first)
    assert not suspects.may_retry(death=second)
    before = routing.revision()
    on_demand.retried(death=first, survived=True)
    assert routing.revision() > before, "other processes read that the suspicion is cleared"
    assert set(routing.snapshot().trials[KEY].crashed) == {"b" * 64}
    assert suspects.may_retry(death=second)
    on_demand.retried(death=second, survived=False)
    assert list(Suspect.objects.values_list("digest", "on_trial")) == [("b" * 64, False)]


def test_a_suspect_whose_process_has_gone_keeps_nobody_waiting(model: RegisteredModel) -> None:
    first, second = on_trial(model, "was killed by SIGABRT", "a" * 64, "b" * 64)
    gone = Suspect.objects.filter(digest=first.digest)
    gone.update(at=timezone.now() - timedelta(seconds=TRIAL_SECONDS + 1))
    assert suspects.may_retry(death=second)


def test_after_a_kill_from_outside_all_are_asked_at_once(model: RegisteredModel) -> None:
    deaths = on_trial(model, "was killed by SIGKILL", "a" * 64, "b" * 64)
    assert all(suspects.may_retry(death=death) for death in deaths)
    assert routing.snapshot().trials == {}


def hung(model: RegisteredModel, blamed: list[str] | None, *requests: str) -> list[Death]:
    """The requests that were in a runner of this model when the watchdog killed it."""
    instance = Instance.objects.create(model=model, version=model.version, node="local", state=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    reason = "It does not answer. Its last lines:\n"
    instances.move(instance=instance, to=InstanceState.FAILED, failure_reason=reason, hung_requests=blamed)
    deaths = [Death(KEY, str(instance.pk), request * 64, request) for request in requests]
    for death in deaths:
        on_demand.died(death=death)
    return deaths


def test_a_request_whose_own_work_hung_its_runner_is_refused_at_once(model: RegisteredModel) -> None:
    guilty, innocent = hung(model, ["a"], "a", "b")
    assert set(routing.snapshot().killers[KEY]) == {guilty.digest}
    assert routing.snapshot().trials == {}
    assert not suspects.may_retry(death=guilty), "it is not sent to the next runner"
    assert suspects.may_retry(death=innocent)


def test_equal_requests_share_the_refusal(model: RegisteredModel) -> None:
    (other,) = hung(model, ["second"], "a")
    on_demand.died(death=Death(KEY, other.instance_id, other.digest, "second"))
    assert set(routing.snapshot().killers[KEY]) == {other.digest}


def test_after_a_hang_without_a_cause_requests_are_retried_one_by_one(model: RegisteredModel) -> None:
    first, second = hung(model, [], "a", "b")
    assert routing.snapshot().killers == {}
    assert suspects.may_retry(death=first)
    assert not suspects.may_retry(death=second)
    hung(model, [], "a")
    assert set(routing.snapshot().killers[KEY]) == {first.digest}, "the second time alone leaves no doubt"


def test_a_hang_from_outside_counts_against_none(model: RegisteredModel) -> None:
    for _ in range(2):
        deaths = hung(model, None, "a", "b")
        assert all(suspects.may_retry(death=death) for death in deaths)
    assert routing.snapshot().killers == {}
