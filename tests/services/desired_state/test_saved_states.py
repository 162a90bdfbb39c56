"""Snapshots of the desired state: saved, imported, restored as far as possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Cancelled, Conflict, NotFound
from models_app.domain.states import JobKind, JobState
from models_app.models import Event, Instance, Job, RegisteredModel, Route, StateSnapshot
from models_app.services.desired_state import restoring, saved_states
from models_app.services.jobs import jobs
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import loading, switching, unloading
from models_app.services.routes import routing
from tests.services.conftest import Work

A, B = "llama.cpp:a", "llama.cpp:b"
StartNode = Callable[[str], None]

pytestmark = pytest.mark.django_db(transaction=True)


def loaded() -> set[str]:
    return set(Instance.objects.filter(state="ready").values_list("model__key", flat=True))


def current() -> str | None:
    target = routing.get().target
    return target.key if target else None


def load(do: Work, key: str, **options: int) -> None:
    job = do(loading.load, key=key, options=LoadOptions(**options))
    assert job.state == JobState.SUCCEEDED, job.error_message


def switch(do: Work, key: str, **options: Any) -> None:
    job = do(switching.switch, kind=JobKind.SWITCH, key=key, **options)
    assert job.state == JobState.SUCCEEDED, job.error_message


def unload(do: Work, key: str) -> None:
    assert do(unloading.unload, kind=JobKind.UNLOAD, key=key).state == JobState.SUCCEEDED


def restore(do: Work, name: str = "one", **options: Any) -> Job:
    return do(restoring.restore, kind=JobKind.RESTORE, name=name, **options)


def save(name: str = "one") -> StateSnapshot:
    return saved_states.save(name=name, actor="test")


def test_it_holds_what_should_be_loaded_and_where_routes_lead(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
    start_node("good")
    switch(do, A)
    load(do, B, n_ctx=128)
    assert save().content == {
        "version": 1,
        "models": [{"key": A, "options": {}}, {"key": B, "options": {"n_ctx": 128}}],
        "routes": [
            {
                "name": "current",
                "target": A,
                "fallbacks": [],
                "load_on_demand": True,
                "may_evict": True,
                "description": "",
            }
        ],
    }
    told = Event.objects.get(name="state-saved")
    assert (told.subject, told.cause) == ("one", "requested")


def test_a_name_is_given_once(db: None) -> None:
    save()
    with pytest.raises(Conflict) as refused:
        save()
    assert refused.value.code == "snapshot_exists"
    names = {saved_states.save(name=None, actor="test").name for _ in range(3)}
    assert len(names) == 3
    saved_states.delete(name="one")
    with pytest.raises(NotFound):
        saved_states.get(name="one")


def test_everything_is_as_it_was(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    switch(do, A)
    load(do, B, n_ctx=128)
    save()
    switch(do, B)
    assert (loaded(), current()) == ({B}, B)
    unload(do, B)
    job = restore(do)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert (loaded(), current()) == ({A, B}, A)
    assert Instance.objects.get(state="ready", model__key=B).options == {"n_ctx": 128}
    assert job.result == {
        "loaded": [A, B],
        "unchanged": [],
        "moved": ["current"],
        "unloaded": [],
        "failed": [],
    }
    assert [step["name"] for step in job.steps].count("restore model") == 2
    told = Event.objects.get(name="state-restored")
    assert (told.subject, told.after["models"]) == ("one", save("two").content["models"])
    moved = Event.objects.filter(name="model-switched").latest("pk")
    assert moved.cause == "a state is restored"


def test_a_second_restore_changes_nothing(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    switch(do, A)
    save()
    pids = set(Instance.objects.filter(state="ready").values_list("pid", flat=True))
    job = restore(do, unload_others=True)
    assert job.result == {
        "loaded": [],
        "unchanged": [A],
        "moved": [],
        "unloaded": [],
        "failed": [],
    }
    assert set(Instance.objects.filter(state="ready").values_list("pid", flat=True)) == pids


@pytest.mark.parametrize("unload_others", [False, True])
def test_others_are_unloaded_when_that_is_wanted(
    two_models: Path, start_node: StartNode, do: Work, unload_others: bool
) -> None:
    start_node("good")
    switch(do, A)
    save()
    switch(do, B)
    job = restore(do, unload_others=unload_others)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert current() == A
    assert loaded() == ({A} if unload_others else {A, B})
    wanted = set(RegisteredModel.objects.filter(wanted=True).values_list("key", flat=True))
    assert wanted == loaded()


def test_what_cannot_be_restored_is_named_and_the_rest_is(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    switch(do, A)
    content = save().content
    content["models"] += [{"key": "llama.cpp:gone", "options": {}}, {"key": B, "options": {}}]
    content["routes"].append({"name": "stable", "target": "llama.cpp:gone", "fallbacks": [], "description": ""})
    saved_states.take_in(name="two", content=content, actor="test")
    unload(do, A)
    job = restore(do, "two")
    assert (job.state, job.error_code) == (JobState.FAILED, "restore_incomplete")
    assert "llama.cpp:gone" in job.error_message
    assert loaded() == {A, B}
    assert job.result is not None
    assert [(one["kind"], one["name"], one["code"]) for one in job.result["failed"]] == [
        ("model", "llama.cpp:gone", "model_not_found"),
        ("route", "stable", "model_not_found"),
    ]


def test_a_model_that_is_loaded_otherwise_is_left_alone(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    load(do, A, n_ctx=128)
    save()
    unload(do, A)
    load(do, A, n_ctx=256)
    job = restore(do)
    assert job.error_code == "restore_incomplete"
    assert "loaded_with_other_options" in job.error_message
    assert Instance.objects.get(state="ready").options == {"n_ctx": 256}


def test_a_route_that_was_deleted_is_made_again(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    load(do, A)
    model = RegisteredModel.objects.get(key=A)
    Route.objects.create(name="stable", target=model, fallbacks=[B], description="for all")
    save()
    Route.objects.filter(name="stable").delete()
    job = restore(do)
    assert job.state == JobState.SUCCEEDED, job.error_message
    route = Route.objects.get(name="stable")
    assert (route.target, route.fallbacks, route.description) == (model, [B], "for all")


def test_a_route_that_led_nowhere_is_left_where_it_leads(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("good")
    routing.get()
    save()
    switch(do, A)
    assert restore(do).state == JobState.SUCCEEDED
    assert current() == A


def test_a_cancel_ends_it_between_two_models(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    switch(do, A)
    load(do, B)
    save()
    unload(do, A)
    unload(do, B)
    load_really = loading.load

    def load_and_cancel(*, run: Run, **arguments: Any) -> Instance:
        instance = load_really(run=run, **arguments)
        jobs.cancel(job_id=run.job.pk, actor="test")
        return instance

    monkeypatch.setattr(loading, "load", load_and_cancel)
    job = restore(do)
    assert (job.state, job.error_code) == (JobState.CANCELLED, Cancelled.default_code)
    assert loaded() == {A}
    assert job.result is not None
    assert job.result["loaded"] == [A]


def test_progress_grows_over_the_whole_of_it(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    load(do, A)
    load(do, B)
    save()
    unload(do, A)
    unload(do, B)
    told: list[tuple[str, float]] = []
    progress = Run.progress

    def listen(run: Run, fraction: float) -> None:
        progress(run, fraction)
        told.append((run.job.steps[-1]["name"], run.job.progress))

    monkeypatch.setattr(Run, "progress", listen)
    assert restore(do).state == JobState.SUCCEEDED
    values = [value for _, value in told]
    assert values == sorted(values)
    assert any(value <= 0.5 for value in values)
    assert any(0.5 < value < 1 for value in values)


def test_an_unknown_snapshot_is_named(db: None) -> None:
    with pytest.raises(NotFound):
        saved_states.request_restore(name="nothing", unload_others=False, actor="test")


def test_one_restore_at_a_time(db: None) -> None:
    save("one")
    save("two")
    first, created = saved_states.request_restore(name="one", unload_others=False, actor="test")
    again = saved_states.request_restore(name="one", unload_others=False, actor="test")
    assert created
    assert again == (first, False)
    with pytest.raises(Conflict):
        saved_states.request_restore(name="two", unload_others=False, actor="test")
