"""Keys that are bound to models and routes change nothing of others: each changing operation, with what it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.rights import Binding
from models_app.domain.scopes import Scope
from models_app.domain.states import JobKind, ModelStatus
from models_app.models import ApiKey, AuditEntry, Job, Node, ProfileRun, RegisteredModel, Route, RouteChange
from models_app.services.api_keys import keys
from models_app.services.desired_state import saved_states
from models_app.services.jobs import subjects
from models_app.tasks import queueing
from tests.api import walking
from tests.api.conftest import Api
from tests.api.walking import Operation

pytestmark = pytest.mark.wide

MakeModel = Callable[..., RegisteredModel]
CHANGING = [operation for operation in walking.operations() if operation.method != "get"]
MINE, OTHER = "llama.cpp:mine", "llama.cpp:other"
MY_ROUTE, OTHER_ROUTE = "mine", "other"
ALLOWED = [MINE, MY_ROUTE, "anthropic:*"]
# Each needs the scope and concerns something that the key is not bound to.
BODIES: dict[str, list[dict[str, Any]]] = {
    "register_model": [
        {"key": OTHER, "pinned": True, "priority": 9},
        {"provider": "llama.cpp", "model": "other", "on_demand": False},
        {"models": [{"key": MINE, "priority": 1}, {"key": OTHER, "priority": 9}]},
        {"key": "openai:new"},
    ],
    "load_model": [{"key": OTHER}, {"key": OTHER, "dry_run": True}, {"provider": "llama.cpp", "model": "other"}],
    "unload_model": [{"key": OTHER}],
    "switch_model": [
        {"key": OTHER, "route": MY_ROUTE},
        {"key": MINE, "route": OTHER_ROUTE},
        {"key": MINE},
        # The present target of the route would be unloaded.
        {"key": MINE, "route": MY_ROUTE},
    ],
    "create_route": [
        {"name": "new"},
        {"name": MY_ROUTE, "target": OTHER},
        {"name": MY_ROUTE, "fallbacks": [MINE, OTHER]},
    ],
    "create_api_key": [
        {"name": "k", "scopes": ["admin"]},
        {"name": "k", "scopes": ["infer"], "allowed_models": [OTHER]},
        {"name": "k", "scopes": ["infer"], "allowed_models": [MINE, "llama.cpp:*"]},
    ],
    "save_state": [{"name": "mine"}],
    "import_snapshot": [{"name": "new", "content": {"models": [], "routes": []}}],
    "restore_state": [{"unload_others": True}],
    "discover_models": [{}, {"provider": "anthropic"}],
    "import_registry": [{}],
    "update_route": [{"fallbacks": [MINE]}, {"load_on_demand": False}],
    "update_api_key": [{"name": "renamed"}, {"allowed_models": []}, {"scopes": ["read"]}],
    "update_model": [{"priority": 9}, {"price": {"input": 0, "output": 0}}],
    "edit_model_tags": [{"add": ["mine"]}],
    "mark_baseline": [{"baseline": True}],
    "put_auto_switch": [{"enabled": True}],
    "set_text_rule": [{"route": MY_ROUTE, "share": 1}],
    "create_webhook": [{"url": "https://example.org/"}],
    "create_provider": [{"slug": "mine", "kind": "openai", "base_url": "https://example.org/v1"}],
}


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


@pytest.fixture
def values(make_model: MakeModel) -> dict[str, str]:
    """Rows of others, and the values of the paths that name them."""
    mine, other = make_model("mine"), make_model("other", status=ModelStatus.LOADED)
    Route.objects.create(name=MY_ROUTE, target=other)
    route = Route.objects.create(name=OTHER_ROUTE, target=other)
    for key in (mine.key, other.key):
        RouteChange.objects.create(route=route, key=key, previous_key=other.key)
    admin, _ = keys.create(name="admin", scopes=[Scope.ADMIN], actor="test")
    profile = ProfileRun.objects.create(model=other, complete=True, summary={"stages": []})
    job = Job.objects.create(kind=JobKind.LOAD, subject=OTHER)
    Node.objects.create(name="local", pid=1)
    saved_states.save(name="nothing", actor="test")
    return {"key_id": admin.key_id, "profile_id": str(profile.pk), "job_id": str(job.pk), "key": OTHER}


def path_of(operation: Operation, values: dict[str, str]) -> str:
    path = operation.path.removeprefix("/api/v1")
    word = operation.parameter
    if word == "name" and operation.path.startswith("/api/v1/routes"):
        return path.replace("/nothing", f"/{OTHER_ROUTE}")
    if word == "name" and operation.path.startswith("/api/v1/nodes"):
        return path.replace("/nothing", "/local")
    if word is None or word not in values:
        return path
    sample = {"key_id": "nothing", "key": "llama.cpp:nothing"}.get(word, walking.VALUES["uuid"])
    return path.replace(sample, values[word])


def stored() -> dict[str, Any]:
    """Every row of every table but those that record the attempts."""
    tables = [model for model in apps.get_app_config("models_app").get_models() if model is not AuditEntry]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in tables}


@pytest.mark.parametrize("operation", CHANGING, ids=str)
def test_a_bound_key_changes_nothing_of_others(values: dict[str, str], operation: Operation) -> None:
    api = Api(keys.create(name="k", scopes=[Scope.ADMIN], actor="test", allowed_models=ALLOWED)[1])
    if operation.right.binding in (Binding.NAMED, Binding.GRANTS) and operation.parameter is None:
        assert operation.name in BODIES, f"{operation} needs a body that names what others own"
    before = stored()
    for body in BODIES.get(operation.name, [{}]):
        answer = api.send(operation.method, path_of(operation, values), body)
        assert answer.status_code == 403, (body, answer.content)
        assert answer.json()["error"]["code"] in ("model_not_allowed", "exceeds_own_rights"), body
    assert stored() == before


@pytest.mark.parametrize(
    ("operation", "path", "body"),
    [
        ("patch", "/models/llama.cpp:mine", {"priority": 3}),
        ("post", "/models", {"models": [{"key": MINE, "priority": 1}]}),
        ("post", "/models/load", {"key": MINE}),
        ("post", "/models/switch", {"key": MINE, "route": MY_ROUTE, "keep_previous": True}),
        ("patch", f"/routes/{MY_ROUTE}", {"fallbacks": [MINE]}),
        ("post", "/api-keys", {"name": "k", "scopes": ["infer"], "allowed_models": [MINE, "anthropic:claude"]}),
        ("post", "/models/llama.cpp:mine/tags", {"add": ["a"]}),
        ("delete", "/models/llama.cpp:mine", {}),
        ("delete", f"/routes/{MY_ROUTE}", {}),
    ],
)
def test_a_bound_key_changes_its_own(values: dict[str, str], operation: str, path: str, body: dict[str, Any]) -> None:
    api = Api(keys.create(name="k", scopes=[Scope.ADMIN], actor="test", allowed_models=ALLOWED)[1])
    answer = api.send(operation, path, body)
    assert answer.status_code < 400, answer.content


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "/models/{}", {"priority": 3}),
        ("delete", "/models/{}", {}),
        ("post", "/models/{}/tags", {"add": ["a"]}),
        ("post", "/models/{}/profile", {}),
        ("post", "/models/{}/capabilities/probe", {}),
        ("post", "/models/load", {"key": "{}"}),
        ("post", "/models/unload", {"key": "{}"}),
        ("post", "/models/switch", {"key": "{}", "route": MY_ROUTE}),
        ("post", "/models", {"key": "{}"}),
    ],
)
def test_a_model_that_exists_is_refused_like_one_that_does_not(
    values: dict[str, str], method: str, path: str, body: dict[str, Any]
) -> None:
    api = Api(keys.create(name="k", scopes=[Scope.OPERATE], actor="test", allowed_models=ALLOWED)[1])

    def refusal(name: str) -> tuple[int, Any]:
        sent = {field: name if value == "{}" else value for field, value in body.items()}
        answer = api.send(method, path.format(name), sent)
        error = answer.json()["error"]
        return answer.status_code, {**error, "request_id": "", "message": error["message"].replace(name, "NAME")}

    assert refusal(OTHER) == refusal("llama.cpp:none")


@pytest.mark.parametrize("kind", list(JobKind))
def test_a_bound_key_cancels_only_jobs_of_its_own(values: dict[str, str], kind: JobKind) -> None:
    def cancel(subject: str, key: str) -> int:
        Job.objects.all().delete()
        job = Job.objects.create(kind=kind, subject=subject, arguments={"key": key, "keep_previous": False})
        return int(api.send("post", f"/jobs/{job.pk}/cancel", {}).status_code)

    api = Api(keys.create(name="k", scopes=[Scope.OPERATE], actor="test", allowed_models=ALLOWED)[1])
    is_route = kind is JobKind.SWITCH
    job = Job(kind=kind, subject=MY_ROUTE if is_route else MINE, arguments={"key": MINE})
    concerns = subjects.of(job)
    assert cancel(MY_ROUTE if is_route else MINE, MINE) == (403 if concerns is None else 200)
    assert cancel(OTHER_ROUTE if is_route else OTHER, MINE) == 403
    if is_route:
        assert cancel(MY_ROUTE, OTHER) == 403


@pytest.mark.parametrize("method", ["post", "patch"])
@pytest.mark.parametrize("price", [{"input": 0, "output": 0}, None])
def test_a_price_is_set_by_administrators(make_model: MakeModel, method: str, price: Any) -> None:
    make_model("a")
    path, named = ("/models", {"key": "llama.cpp:a"}) if method == "post" else ("/models/llama.cpp:a", {})
    for scope, status in ((Scope.OPERATE, 403), (Scope.ADMIN, 200)):
        api = Api(keys.create(name="k", scopes=[scope], actor="test")[1])
        answer = api.send(method, path, {**named, "price": price})
        assert answer.status_code == status, answer.content
        if status == 403:
            assert answer.json()["error"]["param"] == "price"


@pytest.mark.parametrize(
    ("held", "field"),
    [
        ({"allowed_models": [MINE]}, "allowed_models"),
        ({"limits": {"addresses": ["127.0.0.0/8"]}}, "limits.addresses"),
        ({"limits": {"monthly_budget_usd": 5.0}}, "limits.monthly_budget_usd"),
        ({"limits": {"requests_per_minute": 5}}, "limits.requests_per_minute"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"load_on_demand": False}, "load_on_demand"),
        ({"may_evict": False}, "may_evict"),
    ],
)
def test_an_administrators_key_gives_no_more_than_it_has(db: None, held: dict[str, Any], field: str) -> None:
    if "expires_at" in held:
        held = {"expires_at": timezone.now() + timedelta(hours=1)}
    row, text = keys.create(name="bound", scopes=[Scope.ADMIN], actor="test", **held)
    other, _ = keys.create(name="other", scopes=[Scope.ADMIN], actor="test")
    api = Api(text)
    free: dict[str, Any] = {
        "allowed_models": [],
        "limits": {},
        "expires_at": None,
        "load_on_demand": True,
        "may_evict": True,
    }
    attempts = [
        ("post", "/api-keys", {"name": "free", "scopes": ["admin"]}),
        ("patch", f"/api-keys/{row.key_id}", {name: free[name] for name in held}),
        ("patch", f"/api-keys/{other.key_id}", {"name": "renamed"}),
        ("delete", f"/api-keys/{other.key_id}", {}),
    ]
    for method, path, body in attempts:
        answer = api.send(method, path, body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (403, "exceeds_own_rights", field), method
    assert ApiKey.objects.usable().count() == 2
    assert not apps.get_model("models_app", "Event").objects.filter(name=EventName.KEY_CHANGED).exists()


@pytest.mark.parametrize("may_evict", [True, False])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/load", {"key": MINE}),
        ("/models/switch", {"key": MINE, "route": OTHER_ROUTE}),
        (f"/routes/{OTHER_ROUTE}/rollback", {}),
    ],
)
def test_the_loads_of_a_key_evict_as_the_key_may(
    values: dict[str, str], path: str, body: dict[str, Any], may_evict: bool
) -> None:
    Job.objects.all().delete()
    RouteChange.objects.update(previous_key=MINE, key=OTHER)
    text = keys.create(name="k", scopes=[Scope.OPERATE], actor="test", may_evict=may_evict)[1]
    answer = Api(text).send("post", path, body)
    assert answer.status_code == 202, answer.content
    assert Job.objects.get().may_evict is may_evict
