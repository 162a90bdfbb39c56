"""The desired state over the API: read, save, download, import, restore by a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.models import Job, RegisteredModel, StateSnapshot
from models_app.services.routes import routing
from tests.api.conftest import Api

pytestmark = pytest.mark.usefixtures("queued")

MakeModel = Callable[..., RegisteredModel]
KEY = "llama.cpp:a"
CONTENT: dict[str, Any] = {
    "version": 1,
    "models": [{"key": KEY, "options": {"n_ctx": 512}}],
    "routes": [
        {
            "name": "current",
            "target": KEY,
            "fallbacks": [],
            "load_on_demand": True,
            "may_evict": True,
            "description": "",
        }
    ],
}


@pytest.fixture
def model(make_model: MakeModel) -> RegisteredModel:
    """A desired model that is the target of `current`."""
    model = make_model("a", status="loaded")
    model.wanted, model.load_options = True, {"n_ctx": 512}
    model.save()
    route = routing.get()
    route.target = model
    route.save()
    return model


def test_the_state_is_what_should_be_loaded_and_where_routes_lead(
    admin: Api, model: RegisteredModel, make_model: MakeModel
) -> None:
    make_model("b")
    assert admin.get("/state").json() == {
        "node": "local",
        "models": [{"key": KEY, "options": {"n_ctx": 512}, "status": "loaded"}],
        "routes": CONTENT["routes"],
    }


def test_it_is_saved_under_a_name(admin: Api, model: RegisteredModel) -> None:
    answer = admin.post("/models/save-state", {"name": "before-the-party"})
    assert answer.status_code == 201
    assert answer["Location"] == "/api/v1/state/snapshots/before-the-party"
    saved = answer.json()
    assert (saved["content"], saved["actor"]) == (CONTENT, "key:test")
    assert admin.get("/state/snapshots/before-the-party").json() == saved
    again = admin.post("/models/save-state", {"name": "before-the-party"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "snapshot_exists")


@pytest.mark.parametrize("body", [{}, {"name": None}])
def test_without_a_name_it_is_saved_under_the_time(admin: Api, body: dict[str, None]) -> None:
    saved = [admin.post("/models/save-state", body).json()["name"] for _ in range(2)]
    assert saved == sorted(set(saved))
    assert admin.get(f"/state/snapshots/{saved[0]}").status_code == 200


def test_a_download_can_be_taken_in_again(admin: Api, model: RegisteredModel) -> None:
    admin.post("/models/save-state", {"name": "one"})
    file = admin.get("/state/snapshots/one?download=true")
    assert file["Content-Disposition"] == 'attachment; filename="one.json"'
    assert "Content-Disposition" not in admin.get("/state/snapshots/one?download=false")
    content = file.json()["content"]
    taken = admin.post("/state/snapshots", {"name": "two", "content": content})
    assert taken.status_code == 201
    assert taken.json()["content"] == content == CONTENT
    clash = admin.post("/state/snapshots", {"name": "two", "content": content})
    assert (clash.status_code, clash.json()["error"]["code"]) == (409, "snapshot_exists")


def test_snapshots_are_listed_newest_first_and_deleted(admin: Api, model: RegisteredModel) -> None:
    for name in ("one", "two", "three"):
        admin.post("/models/save-state", {"name": name})
    page = admin.get("/state/snapshots?limit=2").json()
    assert [one["name"] for one in page["snapshots"]] == ["three", "two"]
    assert page["snapshots"][0]["models"] == page["snapshots"][0]["routes"] == 1
    assert admin.delete("/state/snapshots/two").status_code == 204
    assert admin.delete("/state/snapshots/two").json()["error"]["code"] == "snapshot_not_found"
    rest = admin.get("/state/snapshots").json()["snapshots"]
    assert [one["name"] for one in rest] == ["three", "one"]


def test_a_restore_is_a_job(admin: Api, model: RegisteredModel, queued: list[Job]) -> None:
    admin.post("/models/save-state", {"name": "one"})
    answer = admin.post("/state/snapshots/one/restore")
    job = answer.json()
    assert (answer.status_code, job["kind"], job["state"]) == (202, "restore", "queued")
    assert job["arguments"] == {"snapshot": "one", "unload_others": False}
    assert answer["Location"] == f"/api/v1/jobs/{job['id']}"
    assert [str(one.pk) for one in queued] == [job["id"]]
    other = admin.post("/state/snapshots/one/restore", {"unload_others": True})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "job_in_progress")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/models/save-state", {"name": "../etc"}, 400, "invalid_snapshot_name"),
        ("/models/save-state", {"name": "x" * 101}, 400, "invalid_request"),
        ("/models/save-state", {"name": ""}, 400, "invalid_request"),
        ("/models/save-state", {"nome": "x"}, 400, "unknown_field"),
        ("/state/snapshots/nothing/restore", {}, 404, "snapshot_not_found"),
        ("/state/snapshots/nothing/restore", {"unload_others": "perhaps"}, 400, "invalid_request"),
        ("/state/snapshots/no%20name/restore", {}, 404, "snapshot_not_found"),
    ],
)
def test_what_cannot_be_is_refused(admin: Api, path: str, body: dict[str, Any], status: int, code: str) -> None:
    answer = admin.post(path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "invalid_request"),
        ({"version": None}, "invalid_request"),
        ({"models": None}, "invalid_request"),
        ({"models": [7]}, "invalid_request"),
        ({"models": ["llama.cpp:a"]}, "invalid_request"),
        ({"models": {"key": KEY}}, "invalid_request"),
        ({"models": [{"key": "a"}]}, "invalid_key"),
        ({"models": [{"key": KEY}, {"key": KEY}]}, "named_twice"),
        ({"models": [{"key": KEY, "options": {"n_ctx": -1}}]}, "invalid_option"),
        ({"models": [{"key": KEY, "options": {"path": "/etc"}}]}, "unknown_option"),
        ({"models": [{"key": KEY, "pid": 1}]}, "unknown_field"),
        ({"models": [{"key": KEY}] * 1001}, "invalid_request"),
        ({"routes": [{"name": "No Name", "target": None}]}, "invalid_route"),
        ({"routes": [{"name": "current"}]}, "invalid_request"),
        ({"routes": [{"name": "current", "target": "a"}]}, "invalid_key"),
        ({"routes": [{"name": "current", "target": None, "fallbacks": "a"}]}, "invalid_request"),
        ({"routes": [{"name": "current", "target": None, "fallbacks": ["a"]}]}, "invalid_key"),
        ({"more": []}, "unknown_field"),
    ],
)
def test_a_content_that_is_none_is_refused(admin: Api, change: dict[str, Any], code: str) -> None:
    answer = admin.post("/state/snapshots", {"name": "one", "content": CONTENT | change})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.content
    assert not StateSnapshot.objects.exists()


@pytest.mark.parametrize("content", [None, 7, "x", [], [CONTENT], {}])
def test_a_content_that_is_no_object_is_refused(admin: Api, content: object) -> None:
    answer = admin.post("/state/snapshots", {"name": "one", "content": content})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
