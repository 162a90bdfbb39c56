"""Every table is bounded, and old rows are deleted, a few at a time."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.models import (
    Activity,
    AuditEntry,
    Event,
    GatewayProcess,
    IdempotencyKey,
    Instance,
    Job,
    LedgerEntry,
    LoadMeasurement,
    ProfileRun,
    ProfileSample,
    Provider,
    RegisteredModel,
    Route,
    RouteChange,
    Traffic,
    Webhook,
    WebhookDelivery,
)
from models_app.services.retention import deleting, sizes
from models_app.services.retention.tables import BOUNDED, RULES, Rule, label

pytestmark = pytest.mark.django_db
NOW = timezone.now()
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: label(rule.model))


def a_model() -> RegisteredModel:
    provider, _ = Provider.objects.get_or_create(slug="p", defaults={"kind": "openai"})
    return RegisteredModel.objects.get_or_create(
        key="p:m", defaults={"provider": provider, "model_id": "m", "name": "M"}
    )[0]


def an_event() -> Event:
    return Event.objects.create(name=EventName.INITIALIZED)


def a_delivery() -> WebhookDelivery:
    webhook, _ = Webhook.objects.get_or_create(url="https://a.example", defaults={"secret": "x"})
    return WebhookDelivery.objects.create(webhook=webhook, event=an_event())


def a_log_entry() -> LogEntry:
    user, _ = User.objects.get_or_create(username="u")
    kind = ContentType.objects.get_for_model(Event)
    return LogEntry.objects.create(user=user, content_type=kind, object_repr="x", action_flag=1)


def an_hour(step: str | None = None) -> Any:
    count = Traffic.objects.count() + Activity.objects.count()
    if step is None:
        return Activity.objects.create(model_key=f"p:{count}", hour=NOW, last_at=NOW)
    return Traffic.objects.create(model_key=f"p:{count}", route="", step=step, start=NOW, last_at=NOW)


MAKE: dict[type[Any], Any] = {
    WebhookDelivery: a_delivery,
    Event: an_event,
    Job: lambda: Job.objects.create(kind=JobKind.LOAD, subject="p:m", state=JobState.FAILED),
    Instance: lambda: Instance.objects.create(model=a_model(), node="n", state=InstanceState.STOPPED),
    AuditEntry: lambda: AuditEntry.objects.create(channel="api", action="x", status=200),
    LogEntry: a_log_entry,
    LedgerEntry: lambda: LedgerEntry.objects.create(kind="load", model_key="p:m", cause="operator", outcome="done"),
    RouteChange: lambda: RouteChange.objects.create(route=Route.objects.get_or_create(name="r")[0]),
    LoadMeasurement: lambda: LoadMeasurement.objects.create(
        node="n", version="v", shape="s", memory_bytes=1, load_seconds=1.0, file_bytes=1
    ),
    ProfileRun: lambda: ProfileRun.objects.create(model=a_model()),
    Activity: an_hour,
    Traffic: lambda: an_hour("day"),
    IdempotencyKey: lambda: IdempotencyKey.objects.create(actor="a", key=str(uuid.uuid4()), operation="x", digest="x"),
    Session: lambda: Session.objects.create(session_key=uuid.uuid4().hex, session_data="", expire_date=NOW),
}


def make(rule: Rule, *, age: timedelta) -> Any:
    row = MAKE[rule.model]()
    rule.model._default_manager.filter(pk=row.pk).update(**{rule.column: NOW - age})
    return row


def test_every_table_has_a_retention_or_a_reason() -> None:
    tables = {label(model) for model in apps.get_models()}
    ruled = [label(rule.model) for rule in RULES]
    assert sorted([*ruled, *BOUNDED]) == sorted(tables)
    assert all(BOUNDED.values())


@every_rule
def test_old_rows_are_deleted_and_newer_ones_stay(rule: Rule) -> None:
    old = [make(rule, age=rule.kept() + timedelta(minutes=minutes)) for minutes in (30, 20, 10)]
    new = [make(rule, age=rule.kept() - timedelta(minutes=5)) for _ in range(2)]
    with mock.patch.object(deleting, "CHUNK", 2):
        assert deleting.delete_old(rule, now=NOW) == 3
    left = set(rule.model._default_manager.values_list("pk", flat=True))
    assert left >= {row.pk for row in new}
    assert not left & {row.pk for row in old}


@every_rule
def test_one_transaction_deletes_few_rows_and_one_run_ends(rule: Rule) -> None:
    for _ in range(9):
        make(rule, age=rule.kept() + timedelta(days=1))
    if rule.keeps_last:
        make(rule, age=timedelta(0))
    with (
        mock.patch.object(deleting, "CHUNK", 2),
        mock.patch.object(deleting, "_MOST_CHUNKS", 3),
        CaptureQueriesContext(connection) as queries,
    ):
        assert deleting.delete_old(rule, now=NOW) == 6
    assert len(queries) < 60
    assert deleting.delete_old(rule, now=NOW) == 3


@every_rule
def test_without_old_rows_nothing_is_deleted_in_few_queries(rule: Rule) -> None:
    make(rule, age=timedelta(0) if rule.kept() else timedelta(days=-1))
    with CaptureQueriesContext(connection) as queries:
        assert deleting.delete_old(rule, now=NOW) == 0
    assert len(queries) <= 2


def rule_of(model: type[Any]) -> Rule:
    (rule,) = [rule for rule in RULES if rule.model is model]
    return rule


def test_what_is_not_over_stays_however_old_it_is() -> None:
    years = timedelta(days=10_000)
    queued, loaded = make(rule_of(Job), age=years), make(rule_of(Instance), age=years)
    Job.objects.filter(pk=queued.pk).update(state=JobState.QUEUED)
    Instance.objects.filter(pk=loaded.pk).update(state=InstanceState.READY)
    baseline = make(rule_of(ProfileRun), age=years)
    ProfileRun.objects.filter(pk=baseline.pk).update(baseline=True)
    ever = an_hour("ever")
    Traffic.objects.filter(pk=ever.pk).update(start=NOW - years)
    deleting.retain()
    for row in (queued, loaded, baseline, ever):
        assert type(row)._default_manager.filter(pk=row.pk).exists(), row


def test_the_newest_event_stays_so_that_streams_keep_their_place() -> None:
    last = [make(rule_of(Event), age=timedelta(days=1000)) for _ in range(5)][-1]
    deleting.delete_old(rule_of(Event), now=NOW)
    assert Event.objects.get() == last


def test_samples_go_with_their_profile() -> None:
    run = make(rule_of(ProfileRun), age=timedelta(days=10_000))
    ProfileSample.objects.create(run=run, number=0, ok=True, e2el_ms=1.0)
    deleting.retain()
    assert not ProfileSample.objects.exists()


def test_processes_that_ended_long_ago_become_one_row_with_their_sums() -> None:
    for number in range(5):
        GatewayProcess.objects.create(
            recorder=f"r{number}",
            started_at=NOW,
            seen_at=NOW - timedelta(days=number * 1000),
            recorded=10,
            stored=9,
            dropped=1,
        )
    before = GatewayProcess.objects.aggregate(Sum("recorded"), Sum("stored"), Sum("dropped"))
    assert deleting.add_up_processes(now=NOW) == 3
    assert deleting.add_up_processes(now=NOW + timedelta(days=1)) == 0
    assert GatewayProcess.objects.count() == 3
    assert GatewayProcess.objects.aggregate(Sum("recorded"), Sum("stored"), Sum("dropped")) == before


def test_what_is_large_is_reported_once_a_day(settings: Any) -> None:
    deleting.retain()
    assert not Event.objects.filter(name=EventName.STORAGE_LARGE).exists()
    settings.NOA_STORAGE_WARNING = 0
    for _ in range(3):
        sizes.report()
    found = Event.objects.filter(name=EventName.STORAGE_LARGE)
    names = {size.name for size in sizes.measured() if size.is_large}
    assert names
    assert sorted(found.values_list("subject", flat=True)) == sorted(names)
    assert "NOA_STORAGE_WARNING" in found[0].message
    found.update(created_at=NOW - timedelta(days=2))
    sizes.report()
    assert found.count() == 2 * len(names)
