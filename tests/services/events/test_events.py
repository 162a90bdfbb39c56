"""Events: visible in the order of their ids, sent to subscribers, put into the outbox."""

from __future__ import annotations

import ast
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from models_app.domain.errors import NotFound
from models_app.domain.events import EventName
from models_app.models import Event
from models_app.services.coordination import signals
from models_app.services.events import events
from models_app.services.events.events import EventFilter
from models_app.services.routes import routing
from tests.markdown import ROOT

WRITERS = 6
EACH = 25


def publish(subject: str = "", name: EventName = EventName.MODEL_LOADED, **fields: Any) -> Event:
    return events.publish(name=name, subject=subject, actor="test", **fields)


@pytest.mark.django_db(transaction=True)
def test_who_reads_up_to_an_id_never_finds_a_smaller_one_later() -> None:
    """Writers in transactions of all kinds against a reader that polls for ids after its last one."""
    begin = threading.Barrier(WRITERS + 1)

    def write(number: int) -> None:
        try:
            begin.wait()
            for count in range(EACH):
                if count % 3 == 0:
                    publish(f"{number}-{count}")
                    continue
                with transaction.atomic():
                    if count % 3 == 1:
                        routing.bump()
                    publish(f"{number}-{count}")
                    # Work after the event keeps the transaction open for some time.
                    routing.bump()
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    begin.wait()
    seen: list[int] = []
    while True:
        ended = not any(writer.is_alive() for writer in writers)
        last = seen[-1] if seen else 0
        seen += Event.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)
        if ended:
            break
    for writer in writers:
        writer.join()
    assert seen == sorted(Event.objects.values_list("pk", flat=True))
    assert len(seen) == WRITERS * EACH


@pytest.mark.django_db(transaction=True)
def test_an_event_goes_with_the_transaction_that_it_tells_of() -> None:
    heard: list[Event] = []

    def listen(event: Event, **_: Any) -> None:
        heard.append(event)

    signals.event_published.connect(listen)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            publish("taken back")
            raise RuntimeError
        with transaction.atomic():
            kept = publish("kept")
            assert heard == []
    finally:
        signals.event_published.disconnect(listen)
    assert heard == [kept] == list(Event.objects.all())


@pytest.mark.django_db(transaction=True)
def test_a_listener_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def listen(**_: Any) -> None:
        raise RuntimeError("a listener's own fault")

    signals.event_published.connect(listen)
    try:
        publish("told")
    finally:
        signals.event_published.disconnect(listen)
    assert Event.objects.get().subject == "told"
    assert "a listener's own fault" in caplog.text


@pytest.mark.django_db
def test_cause_before_and_after_are_kept() -> None:
    publish("a", cause="requested", before={"key": None}, after={"key": "llama.cpp:a"})
    told = events.represent(Event.objects.get())
    assert (told["cause"], told["before"], told["after"]) == (
        "requested",
        {"key": None},
        {"key": "llama.cpp:a"},
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (EventFilter(), {"a", "b"}),
        (EventFilter(names=frozenset({"model-unloaded"})), {"b"}),
        (EventFilter(names=frozenset({"model-unloaded", "model-loaded"})), {"a", "b"}),
        (EventFilter(subject="a"), {"a"}),
        (EventFilter(actor="somebody"), set()),
        (EventFilter(actor="test", subject="b"), {"b"}),
    ],
)
def test_rows_and_events_are_chosen_alike(wanted: EventFilter, subjects: set[str]) -> None:
    both = [publish("a"), publish("b", EventName.MODEL_UNLOADED)]
    assert {event.subject for event in wanted.rows()} == subjects
    assert {event.subject for event in both if wanted.matches(event)} == subjects


@pytest.mark.django_db
def test_an_unknown_event_is_not_found() -> None:
    with pytest.raises(NotFound):
        events.get(event_id=1)


def published() -> list[ast.Call]:
    """Every call of `events.publish` in the program."""
    program = (ROOT / "models_app").rglob("*.py")
    return [
        node
        for path in program
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "events.publish"
    ]


def test_every_fact_says_who_and_why() -> None:
    said = {ast.unparse(call): {word.arg for word in call.keywords} for call in published()}
    assert len(said) > 10
    assert [call for call, words in said.items() if not words >= {"actor", "cause"}] == []
