"""The ledger keeps the changes of models and their causes."""

from __future__ import annotations

import pytest

from models_app.domain.residency.ledger import LedgerCause, LedgerKind, LedgerOutcome, cause_of
from models_app.domain.states import JobKind
from models_app.models import LedgerEntry
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
    ledger.record(
        kind=LedgerKind.REFUSAL,
        model_key="llama.cpp:a",
        cause=LedgerCause.KEY,
        outcome=LedgerOutcome.REFUSED,
        reason="a\0b",
    )
    entry = LedgerEntry.objects.get()
    assert (entry.node, entry.reason, entry.candidates) == ("local", "a\ufffdb", [])


@pytest.mark.django_db
def test_a_shared_job_may_evict_when_one_of_those_who_asked_may() -> None:
    wish = {"kind": JobKind.LOAD, "subject": "llama.cpp:a", "arguments": {}, "actor": "gateway"}
    first, _ = jobs.create(**wish, may_evict=False)  # type: ignore[arg-type]
    assert (first.cause, first.may_evict) == (LedgerCause.REQUEST, False)
    second, created = jobs.create(**wish)  # type: ignore[arg-type]
    first.refresh_from_db()
    assert (second.pk, created, first.may_evict) == (first.pk, False, True)
