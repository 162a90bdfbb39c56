"""The ledger keeps the changes of models and their causes."""

from __future__ import annotations

from unittest import mock

import pytest
from django.db import DatabaseError

from models_app.domain.events import EventName
from models_app.domain.residency.ledger import (
    FactEvent,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
    cause_of,
)
from models_app.domain.states import JobKind
from models_app.models import Event, LedgerEntry
from models_app.services.catalog import ledger
from models_app.services.jobs import jobs


@pytest.mark.parametrize(
    ("actor", "cause"),
    [
        ("key:ci", LedgerCause.KEY),
        ("user:ada", LedgerCause.OPERATOR),
        ("restore", LedgerCause.RESTORE),
        ("gateway", LedgerCause.REQUEST),
        ("idle", LedgerCause.POLICY),
    ],
)
def test_the_cause_follows_from_who_asked(actor: str, cause: LedgerCause) -> None:
    assert cause_of(actor) == cause


@pytest.mark.django_db
def test_an_entry_names_its_node_and_can_be_stored_whatever_the_reason_holds() -> None:
    origin = Origin(LedgerCause.KEY)
    ledger.record(
        LifecycleFact(LedgerKind.REFUSAL, "llama.cpp:a", LedgerOutcome.REFUSED, origin, reason="a\0b"),
    )
    entry = LedgerEntry.objects.get()
    assert (entry.node, entry.reason, entry.candidates) == ("local", "a\ufffdb", [])


FACT = LifecycleFact(
    LedgerKind.LOAD,
    "llama.cpp:a",
    LedgerOutcome.DONE,
    Origin(LedgerCause.KEY, "key:ci"),
    event=FactEvent(EventName.MODEL_LOADED, "llama.cpp:a was loaded.", cause="requested", after="loaded"),
)


@pytest.mark.django_db
def test_a_fact_is_written_to_the_ledger_and_published_as_an_event() -> None:
    entry = ledger.record(FACT)
    event = Event.objects.get()
    assert (entry.kind, entry.model_key, entry.actor) == ("load", "llama.cpp:a", "key:ci")
    assert (event.name, event.subject, event.actor) == (EventName.MODEL_LOADED, "llama.cpp:a", "key:ci")
    assert (event.cause, event.before, event.after) == ("requested", None, "loaded")


@pytest.mark.django_db
def test_a_fact_whose_row_cannot_be_written_publishes_nothing() -> None:
    with mock.patch.object(LedgerEntry.objects, "create", side_effect=DatabaseError), pytest.raises(DatabaseError):
        ledger.record(FACT)
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_a_shared_job_may_evict_when_one_of_those_who_asked_may() -> None:
    wish = {"kind": JobKind.LOAD, "subject": "llama.cpp:a", "arguments": {}, "actor": "gateway"}
    first, _ = jobs.create(**wish, may_evict=False)  # type: ignore[arg-type]
    assert (first.cause, first.may_evict) == (LedgerCause.REQUEST, False)
    second, created = jobs.create(**wish)  # type: ignore[arg-type]
    first.refresh_from_db()
    assert (second.pk, created, first.may_evict) == (first.pk, False, True)
