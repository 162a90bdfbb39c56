"""Routes over the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from models_app.domain.states import InstanceState, JobKind, ModelStatus
from models_app.models import Event, Instance, Job, RegisteredModel, Route, RouteChange
from models_app.services.routes import routing
from models_app.tasks import queueing
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


@pytest.fixture
def loaded(make_model: MakeModel) -> Callable[[str], RegisteredModel]:
    def make(model_id: str) -> RegisteredModel:
        model = make_model(model_id, ModelStatus.LOADED)
        Instance.objects.create(model=model, node="n", state=InstanceState.READY, socket="/s")
        return model

    return make


Loaded = Callable[[str], RegisteredModel]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_route_is_made_read_changed_and_deleted(admin: Api, loaded: Loaded) -> None:
    loaded("a")
    loaded("b")
    made = admin.post("/routes", {"name": "fast", "target": "llama.cpp:a", "fallbacks": ["llama.cpp:b"]})
    assert (made.status_code, made["Location"]) == (201, "/api/v1/routes/fast")
    assert admin.get("/routes/fast").json() == made.json()
    assert made.json()["target_status"] == "loaded"
    assert routing.snapshot().fallbacks["fast"] == ("llama.cpp:b",)
    changed = admin.patch("/routes/fast", {"description": "quick", "fallbacks": []})
    assert (changed.json()["description"], changed.json()["fallbacks"]) == ("quick", [])
    assert changed.json()["target"] == "llama.cpp:a"
    assert [route["name"] for route in admin.get("/routes").json()["routes"]] == ["fast"]
    assert admin.delete("/routes/fast").status_code == 204
    assert code(admin.get("/routes/fast")) == (404, "route_not_found")
    assert "fast" not in routing.snapshot().routes


def test_every_change_of_a_route_is_an_event(admin: Api, loaded: Loaded) -> None:
    loaded("a")
    admin.post("/routes", {"name": "fast", "target": "llama.cpp:a"})
    admin.patch("/routes/fast", {"description": "quick"})
    admin.delete("/routes/fast")
    made, moved, changed, deleted = Event.objects.exclude(name="key-created").order_by("id")
    assert (made.name, made.before, made.after["target"]) == ("route-changed", None, None)
    assert (moved.name, moved.before["key"], moved.after["key"]) == (
        "model-switched",
        None,
        "llama.cpp:a",
    )
    assert (changed.before["description"], changed.after["description"]) == ("", "quick")
    assert (deleted.name, deleted.before["target"], deleted.after) == (
        "route-deleted",
        "llama.cpp:a",
        None,
    )
    assert {event.actor for event in (made, moved, changed, deleted)} == {"key:test"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"name": "Not a route"}, (400, "invalid_route")),
        ({"name": "a:b"}, (400, "invalid_route")),
        ({"name": "../x"}, (400, "invalid_route")),
        ({"name": "current"}, (409, "route_exists")),
        ({"name": "fast", "target": "llama.cpp:nothing"}, (404, "model_not_found")),
        ({"name": "fast", "target": "llama.cpp:a"}, (409, "model_not_loaded")),
        ({"name": "fast", "target": "a"}, (400, "invalid_key")),
        ({"name": "fast", "fallbacks": ["llama.cpp:nothing"]}, (404, "model_not_found")),
        ({"name": "fast", "fallbacks": ["llama.cpp:a"] * 9}, (400, "invalid_request")),
        ({"name": "fast", "fallbacks": "llama.cpp:a"}, (400, "invalid_request")),
        ({"name": "fast", "fallbacks": [None]}, (400, "invalid_request")),
        ({"name": "fast", "description": "a" * 256}, (400, "invalid_request")),
        ({"name": "fast", "weight": 1}, (400, "unknown_field")),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    admin: Api, make_model: MakeModel, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    make_model("a")
    routing.get()
    assert code(admin.post("/routes", body)) == expected
    assert [route.name for route in Route.objects.all()] == ["current"]
    assert not Event.objects.filter(name__in=["route-changed", "model-switched"]).exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"target": "llama.cpp:a"}, (400, "unknown_field")),
        ({"name": "other"}, (400, "unknown_field")),
        ({"fallbacks": None}, (400, "invalid_request")),
        ({"fallbacks": ["llama.cpp:nothing"]}, (404, "model_not_found")),
    ],
)
def test_a_route_is_moved_by_a_switch_only(admin: Api, body: dict[str, Any], expected: tuple[int, str]) -> None:
    routing.get()
    assert code(admin.patch("/routes/current", body)) == expected


def test_the_same_fallback_twice_is_one(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    answer = admin.patch("/routes/current", {"fallbacks": ["llama.cpp:a", "llama.cpp:a"]})
    assert answer.json()["fallbacks"] == ["llama.cpp:a"]


def test_a_name_that_equals_a_model_id_goes_before_it(admin: Api, make_model: MakeModel) -> None:
    make_model("a")
    assert admin.post("/routes", {"name": "a"}).status_code == 201
    found = routing.snapshot().resolve("a")
    assert found is not None
    assert (found.route, found.model) == ("a", None)


def test_current_always_exists(admin: Api) -> None:
    assert admin.get("/routes/current").json()["target"] is None
    assert code(admin.delete("/routes/current")) == (409, "route_is_permanent")


def test_a_route_that_is_being_moved_is_not_deleted(admin: Api) -> None:
    admin.post("/routes", {"name": "fast"})
    Job.objects.create(kind=JobKind.SWITCH, subject="fast")
    assert code(admin.delete("/routes/fast")) == (409, "job_in_progress")


def test_the_moves_of_a_route_are_listed_newest_first(admin: Api, loaded: Loaded) -> None:
    for model in (loaded("a"), loaded("b")):
        routing.repoint(route=routing.get(), model=model, actor="test")
    page = admin.get("/routes/current/changes?limit=1").json()
    assert [(one["previous"], one["key"]) for one in page["changes"]] == [("llama.cpp:a", "llama.cpp:b")]
    rest = admin.get(page["next"].partition("/api/v1")[2]).json()
    assert [(one["previous"], one["key"]) for one in rest["changes"]] == [(None, "llama.cpp:a")]
    assert code(admin.get("/routes/nothing/changes")) == (404, "route_not_found")


def test_a_route_is_rolled_back_by_a_job(admin: Api, loaded: Loaded) -> None:
    a, b = loaded("a"), loaded("b")
    for model in (a, b, b):
        routing.repoint(route=routing.get(), model=model, actor="test")
    answer = admin.post("/routes/current/rollback")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["subject"], job["arguments"]["key"]) == (
        "switch",
        "current",
        "llama.cpp:a",
    )


def test_a_route_without_a_past_cannot_be_rolled_back(admin: Api, loaded: Loaded) -> None:
    assert code(admin.post("/routes/current/rollback")) == (409, "nothing_to_roll_back")
    routing.repoint(route=routing.get(), model=loaded("a"), actor="test")
    assert code(admin.post("/routes/current/rollback")) == (409, "nothing_to_roll_back")


def test_a_route_is_not_rolled_back_to_a_model_that_is_gone(admin: Api, loaded: Loaded) -> None:
    a, b = loaded("a"), loaded("b")
    for model in (a, b):
        routing.repoint(route=routing.get(), model=model, actor="test")
    RouteChange.objects.filter(previous_key=a.key).update(previous_key="llama.cpp:gone")
    assert code(admin.post("/routes/current/rollback")) == (404, "model_not_found")
