"""PATCH and DELETE of a model, and its tags: changes, events and refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from models_app.domain.states import InstanceState, JobKind
from models_app.models import (
    AccessLog,
    CapabilityEvidence,
    Event,
    Instance,
    ModelVersion,
    RegisteredModel,
    Route,
)
from models_app.services.jobs import jobs
from models_app.services.registry import capabilities, registration
from models_app.services.routes import routing
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]


@pytest.fixture(autouse=True)
def model(make_model: MakeModel) -> RegisteredModel:
    return make_model("a")


PATH = "/models/llama.cpp:a"


def newest() -> Event:
    return Event.objects.filter(subject="llama.cpp:a").order_by("-pk")[0]


# Changes


@pytest.mark.parametrize(
    ("field", "given", "shown"),
    [
        ("name", "New", "New"),
        ("name", None, ""),
        ("description", "d", "d"),
        ("capabilities", ["embeddings"], ["embeddings"]),
        ("capabilities", None, []),
        ("context_window", 4096, 4096),
        ("context_window", None, None),
        ("max_output_tokens", 10, 10),
        ("tags", ["B", "a"], ["b", "a"]),
        ("metadata", {"custom": "data"}, {"custom": "data"}),
        ("load_options", {"slots": 2}, {"slots": 2}),
        ("deprecation_note", "Soon.", "Soon."),
        ("deprecated", True, True),
    ],
)
def test_a_field_is_changed_and_the_others_stay(admin: Api, field: str, given: Any, shown: Any) -> None:
    before = admin.get("/models").json()["models"][0]
    answer = admin.patch(PATH, {field: given})
    assert answer.status_code == 200, answer.content
    after = answer.json()
    assert after[field] == shown
    changing = {field, "updated_at"}
    assert {n: v for n, v in after.items() if n not in changing} == {
        n: v for n, v in before.items() if n not in changing
    }


def test_a_change_tells_what_was_and_what_is(admin: Api) -> None:
    admin.patch(PATH, {"name": "New", "context_window": 2048, "tags": ["x"]})
    event = newest()
    assert (event.name, event.actor, event.cause) == ("model-updated", "key:test", "requested")
    assert event.before == {"name": "A", "tags": []}
    assert event.after == {"name": "New", "tags": ["x"]}


def test_a_change_that_changes_nothing_is_no_event(admin: Api) -> None:
    before = (routing.revision(), RegisteredModel.objects.values("updated_at").get())
    assert admin.patch(PATH, {"name": "A", "tags": []}).status_code == 200
    assert admin.patch(PATH, {}).status_code == 200
    assert (routing.revision(), RegisteredModel.objects.values("updated_at").get()) == before
    assert not Event.objects.filter(subject="llama.cpp:a").exists()


def test_a_deprecation_is_an_event_of_its_own(admin: Api) -> None:
    answer = admin.patch(PATH, {"deprecated": True, "deprecation_note": "Use b."}).json()
    assert (answer["deprecated"], answer["deprecation_note"]) == (True, "Use b.")
    assert newest().name == "model-deprecated"
    assert admin.get("/models?deprecated=false").json()["count"] == 0
    admin.patch(PATH, {"deprecated": False})
    assert newest().name == "model-updated"


def test_a_price_is_exact_and_null_takes_it_away(admin: Api) -> None:
    assert admin.patch(PATH, {"price": {"input": 0.1, "output": 0.2}}).json()["price"] == {
        "input": 0.1,
        "output": 0.2,
        "cached_input": None,
        "cache_write": None,
        "source": "operator",
    }
    price = RegisteredModel.objects.get().price
    assert price is not None and price["input"] == "0.1"
    assert admin.patch(PATH, {"price": None}).json()["price"] is None


def test_what_was_read_can_be_sent_back(admin: Api) -> None:
    admin.patch(PATH, {"price": {"input": 1, "output": 2}, "metadata": {"a": [1]}})
    read = admin.get(PATH).json()
    fields = ("name", "price", "metadata", "tags", "capabilities", "load_options", "context_window")
    event = newest().pk
    assert admin.patch(PATH, {name: read[name] for name in fields}).status_code == 200
    assert newest().pk == event


def test_a_search_finds_the_new_words(admin: Api) -> None:
    admin.patch(PATH, {"description": "Speaks Etruscan.", "tags": ["Old"]})
    assert admin.get("/models?q=etruscan&tag=old").json()["count"] == 1
    admin.patch(PATH, {"description": None, "tags": None})
    assert admin.get("/models?q=etruscan").json()["count"] == 0
    assert admin.get("/models?tag=old").json()["count"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"key": "llama.cpp:b"}, "key"),
        ({"status": "loaded"}, "status"),
        ({"path": "/x"}, "path"),
        ({"access_count": 0}, "access_count"),
        ({"deprecated": None}, "deprecated"),
        ({"tags": "x"}, "tags"),
        ({"load_options": {"n_ctx": 1}}, "load_options.n_ctx"),
        ({"price": {"input": 1}}, "price"),
        ({"wanted": True}, "wanted"),
        ({"version": None}, "version"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(admin: Api, body: dict[str, Any], param: str) -> None:
    answer = admin.patch(PATH, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("method", ["patch", "delete", "post"])
def test_an_unknown_model_cannot_be_changed(admin: Api, method: str) -> None:
    if method == "post":
        answer = admin.post("/models/llama.cpp:none/tags", {"add": ["x"]})
    elif method == "patch":
        answer = admin.patch("/models/llama.cpp:none", {"name": "x"})
    else:
        answer = admin.delete("/models/llama.cpp:none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_load_meanwhile_is_not_undone(admin: Api, model: RegisteredModel) -> None:
    stale = RegisteredModel.objects.get(pk=model.pk)
    RegisteredModel.objects.filter(pk=model.pk).update(status="loaded", wanted=True)
    registration.set_fields(stale, {"name": "New"})
    admin.patch(PATH, {"name": "New"})
    row = RegisteredModel.objects.get(pk=model.pk)
    assert (row.name, row.status, row.wanted) == ("New", "loaded", True)


# Tags


def test_tags_are_added_and_taken_away(admin: Api) -> None:
    admin.patch(PATH, {"tags": ["one", "two"]})
    answer = admin.post(f"{PATH}/tags", {"add": ["Three", "one"], "remove": ["two", "four"]})
    assert (answer.status_code, answer.json()["tags"]) == (200, ["one", "three"])
    assert newest().before == {"tags": ["one", "two"]}
    assert admin.get("/models?tag=three").json()["count"] == 1
    assert admin.get("/models?tag=two").json()["count"] == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"add": "x"}, "add"),
        ({"add": [""]}, "add[0]"),
        ({"remove": ["a,b"]}, "remove[0]"),
        ({"tags": ["x"]}, "tags"),
        ({"add": [f"t{n}" for n in range(65)]}, "add"),
    ],
)
def test_wrong_tags_are_refused(admin: Api, body: dict[str, Any], param: str) -> None:
    answer = admin.post(f"{PATH}/tags", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_tags_never_become_too_many(admin: Api) -> None:
    admin.patch(PATH, {"tags": [f"t{number}" for number in range(64)]})
    assert admin.post(f"{PATH}/tags", {"add": ["one-more"]}).status_code == 400
    assert admin.post(f"{PATH}/tags", {"add": ["x"], "remove": ["t0"]}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_many_people_may_tag_at_once(model: RegisteredModel) -> None:
    def tag(number: int) -> None:
        try:
            registration.edit_tags(key=model.key, add=[f"t{number}"], remove=[], actor="test")
        finally:
            connection.close()

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(RegisteredModel.objects.get().tags) == [f"t{number}" for number in range(8)]


# Deregistration


def test_a_model_is_taken_out_and_its_history_stays(admin: Api, model: RegisteredModel) -> None:
    assert model.version is not None
    Instance.objects.create(model=model, version=model.version, node="local", state=InstanceState.STOPPED)
    capabilities.record_declared(model=model, capabilities=["vision"])
    AccessLog.objects.create(
        request_id="r",
        started_at=model.created_at,
        endpoint="/v1",
        model_key=model.key,
        status=200,
        duration_ms=1,
    )
    answer = admin.delete(PATH)
    assert (answer.status_code, answer.content) == (204, b"")
    assert admin.get(PATH).status_code == 404
    for gone in (RegisteredModel, ModelVersion, Instance, CapabilityEvidence):
        assert not gone.objects.exists()
    assert AccessLog.objects.get().model_key == "llama.cpp:a"
    event = newest()
    assert (event.name, event.actor) == ("model-deregistered", "key:test")
    assert event.before["name"] == "A"


@pytest.mark.parametrize(
    "state",
    [
        InstanceState.QUEUED,
        InstanceState.STARTING,
        InstanceState.READY,
        InstanceState.DRAINING,
    ],
)
def test_a_model_that_is_loaded_stays(admin: Api, model: RegisteredModel, state: str) -> None:
    Instance.objects.create(model=model, node="local", state=state)
    refused(admin, "unload")


def test_a_model_that_a_route_leads_to_stays(admin: Api, model: RegisteredModel) -> None:
    Route.objects.create(name="main", target=model)
    refused(admin, "'main'")


def test_a_model_that_a_route_falls_back_to_stays(admin: Api) -> None:
    Route.objects.create(name="main", fallbacks=["llama.cpp:b", "llama.cpp:a"])
    refused(admin, "'main'")


def test_a_model_that_a_job_works_on_stays(admin: Api) -> None:
    jobs.create(kind=JobKind.PROFILE, subject="llama.cpp:a", arguments={}, actor="test")
    refused(admin, "job")


def refused(admin: Api, because: str) -> None:
    answer = admin.delete(PATH)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "model_in_use")
    assert because in error["message"]
    assert RegisteredModel.objects.exists()


def test_there_is_no_way_to_force_it(admin: Api, model: RegisteredModel) -> None:
    Route.objects.create(name="main", target=model)
    answer = admin.delete(f"{PATH}?force=true")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
