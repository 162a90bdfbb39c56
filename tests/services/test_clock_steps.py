"""After the wall clock was set back by a day, nothing waits for that day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.db.models import F
from django.utils import timezone

from models_app.domain.errors import Conflict, RateLimited
from models_app.domain.residency.admission import Memory
from models_app.domain.residency.demand import EVERYTHING, ModelDemand
from models_app.domain.residency.suspects import FORGOTTEN_SECONDS, TRIAL_SECONDS, Death
from models_app.domain.states import InstanceState, JobKind
from models_app.models import Demand, IdempotencyKey, Instance, LogInTally, Recovery, RegisteredModel, WebhookDelivery
from models_app.services.coordination import idempotency
from models_app.services.jobs import jobs
from models_app.services.lifecycle import admission, demand, on_demand
from models_app.services.log_ins import brake
from models_app.services.routes import routing, suspects
from models_app.services.runners import instances
from tests.fakes.receiver import Receiver
from tests.services.events.hooks import happen, hook, send_all
from tests.services.served import KEY, registered_model

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def set_back(by: timedelta = DAY) -> None:
    """Afterwards all stored times are where a clock that was set back finds them."""
    for model in apps.get_app_config("models_app").get_models():
        times = [field.name for field in model._meta.concrete_fields if isinstance(field, models.DateTimeField)]
        if times:
            model._default_manager.update(**{name: F(name) + by for name in times})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def model() -> RegisteredModel:
    return registered_model()


def want() -> ModelDemand:
    return ModelDemand(KEY, 1, timezone.now().timestamp(), EVERYTHING, "request-1")


@pytest.mark.parametrize("by", [timedelta(minutes=30), DAY, 365 * DAY])
def test_a_new_delivery_is_sent_at_once(receiver: Receiver, by: timedelta) -> None:
    hook(receiver.url)
    happen()
    set_back(by)
    send_all()
    assert len(receiver.received) == 1
    assert WebhookDelivery.objects.get().state == "delivered"


@pytest.mark.parametrize("failures", range(1, 8))
def test_a_delivery_that_failed_is_tried_again(receiver: Receiver, failures: int) -> None:
    receiver.script = [500] * failures
    hook(receiver.url)
    happen()
    for _ in range(failures):
        WebhookDelivery.objects.update(next_attempt_at=timezone.now())
        send_all()
    # Its pause has just begun: that still counts.
    send_all()
    assert len(receiver.received) == failures
    set_back()
    send_all()
    assert len(receiver.received) == failures + 1
    assert WebhookDelivery.objects.get().state == "delivered"


def test_a_delivery_whose_worker_has_died_is_sent(receiver: Receiver) -> None:
    hook(receiver.url)
    happen()
    leased = timezone.now() + timedelta(seconds=60)
    WebhookDelivery.objects.update(attempts=1, next_attempt_at=leased)
    send_all()
    assert receiver.received == []
    set_back()
    send_all()
    assert WebhookDelivery.objects.get().state == "delivered"


def test_the_demand_of_a_dead_process_expires(model: RegisteredModel) -> None:
    demand.publish(process="dead", demands=[want()])
    assert demand.is_waited_for(model=model)
    set_back()
    assert not demand.is_waited_for(model=model)
    assert demand.waiting() == {}
    demand.publish(process="alive", demands=[want()])
    on_demand.clean_up()
    assert [row.process for row in Demand.objects.all()] == ["alive"]
    assert demand.waiting()[model.pk].count == 1


@pytest.mark.parametrize("deaths", range(1, 6))
def test_a_model_that_died_is_loaded_for_a_request(model: RegisteredModel, deaths: int) -> None:
    later = (timezone.now() + DAY).timestamp()
    Recovery.objects.create(model=model, node="local", deaths=[later - number for number in range(deaths)])
    assert on_demand.attend(model_demand=want()).created


def test_a_model_that_was_given_up_is_loaded_for_a_request(model: RegisteredModel) -> None:
    now = timezone.now()
    row = Recovery.objects.create(
        model=model, node="local", given_up_at=now, times_given_up=1, deaths=[now.timestamp()] * 5
    )
    assert on_demand.attend(model_demand=want()).job is None
    set_back()
    Recovery.objects.filter(pk=row.pk).update(deaths=[(now + DAY).timestamp()] * 5)
    assert on_demand.attend(model_demand=want()).created


def test_no_forecast_is_longer_than_a_rest(model: RegisteredModel) -> None:
    now = timezone.now()
    Recovery.objects.create(model=model, node="local", due_at=now, back_at=now, deaths=[now.timestamp()])
    set_back()
    assert (on_demand.attend(model_demand=want()).outlook.seconds or 0.0) <= 1800.0


def test_suspicions_count_from_now(model: RegisteredModel) -> None:
    for _ in range(2):
        instance = Instance.objects.create(model=model, node="local", state=InstanceState.STARTING)
        instances.move(instance=instance, to=InstanceState.READY)
        on_demand.died(death=Death(KEY, str(instance.pk), "d" * 64, "request-1"))
        instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_reason="The runner was killed by SIGSEGV.",
        )
    set_back()
    before = routing.snapshot().revision
    on_demand.clean_up()
    snapshot = routing.snapshot()
    assert snapshot.revision > before
    (until,) = snapshot.killers[KEY].values()
    assert until <= timezone.now().timestamp() + FORGOTTEN_SECONDS
    trials = suspects.suspicions().trials
    assert all(one.until <= timezone.now().timestamp() + TRIAL_SECONDS for one in trials.values())


def test_a_job_without_a_message_is_run(model: RegisteredModel) -> None:
    job, _ = jobs.create(kind=JobKind.DISCOVER, subject="", arguments={}, actor="test")
    assert jobs.unclaimed(older_than=timedelta(seconds=5)) == []
    set_back()
    assert jobs.unclaimed(older_than=timedelta(seconds=5)) == [job]


def claim() -> bool:
    return idempotency.claim(caller="a", key="k", operation="o", digest="d")[1]


def test_an_idempotency_key_of_a_dead_server_is_free_after_the_usual_time() -> None:
    assert claim()
    set_back()
    with pytest.raises(Conflict):
        claim()
    IdempotencyKey.objects.update(created_at=F("created_at") - idempotency.ABANDONED - timedelta(seconds=1))
    assert claim()


def test_a_log_in_waits_as_long_as_usual() -> None:
    for _ in range(5):
        brake.fail(brake.begin(username="admin", address="192.0.2.1"))
    set_back()
    with pytest.raises(RateLimited) as refused:
        brake.begin(username="admin", address="192.0.2.1")
    LogInTally.objects.update(last_at=F("last_at") - timedelta(seconds=(refused.value.retry_after or 0) + 1))
    brake.begin(username="admin", address="192.0.2.1")


def test_a_model_need_not_stay_for_longer(model: RegisteredModel, settings: Any) -> None:
    settings.NOA_MIN_RESIDENCY = 30.0
    instance = Instance.objects.create(model=model, node="local", state=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    memory = Memory()
    row = Instance.objects.select_related("model").get()
    assert admission._resident(row, memory, False, False).resident_seconds < 30.0
    set_back()
    row = Instance.objects.select_related("model").get()
    stays = admission._resident(row, memory, False, False)
    assert stays.resident_seconds >= 30.0
    assert stays.idle_seconds >= 0.0
