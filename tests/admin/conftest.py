"""Users of the console, and rows for every page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.test.client import ClientHandler
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.scopes import Scope
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import (
    AccessLog,
    Instance,
    Job,
    ModelVersion,
    Node,
    ProfileRun,
    RegisteredModel,
    Route,
    RouteChange,
)
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.coordination import audit
from models_app.services.events import events

MakeModel = Callable[..., RegisteredModel]


# One for all tests: the middleware scans all static files when it is set up.
_HANDLER = ClientHandler(enforce_csrf_checks=False)


def browser() -> Client:
    """A client without a session."""
    client = Client()
    client.handler = _HANDLER
    return client


@pytest.fixture(autouse=True)
def no_worker(queued: list[Job]) -> None:
    """Jobs that would be sent to a worker are in `queued`."""


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root", "root@example.org")


@pytest.fixture
def console(superuser: User) -> Client:
    """A client signed in as a superuser."""
    client = browser()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """`staff("view_registeredmodel")`: a client signed in with only these permissions."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert user.user_permissions.count() == len(codenames)
        client = browser()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def make_model(db: None) -> MakeModel:
    """A registered local model, loaded if its status is `loaded`."""

    def make(model_id: str = "tiny", **fields: object) -> RegisteredModel:
        values: dict[str, object] = {"name": model_id.title(), "status": ModelStatus.AVAILABLE}
        model = RegisteredModel.objects.create(
            provider=lookup.local_provider(),
            model_id=model_id,
            key=f"llama.cpp:{model_id}",
            context_window=32768,
            **{**values, **fields},
        )
        model.capabilities = ["text_generation", "chat_completion"]
        model.version = ModelVersion.objects.create(
            model=model,
            sha256="0" * 64,
            path=f"/models/{model_id}.gguf",
            size_bytes=4_683_073_184,
            file_mtime_ns=1,
            quantization="Q4_K_M",
        )
        model.save()
        if model.status == ModelStatus.LOADED:
            make_instance(model)
        return model

    return make


def make_instance(model: RegisteredModel, state: str = InstanceState.READY) -> Instance:
    return Instance.objects.create(
        model=model,
        version=model.version,
        node="local",
        state=state,
        pid=4321,
        memory_bytes=5_368_709_120,
        context_tokens=8192,
        slots=4,
        load_seconds=3.21,
    )


def make_job(kind: str = JobKind.LOAD, subject: str = "llama.cpp:tiny", **fields: object) -> Job:
    return Job.objects.create(kind=kind, subject=subject, **fields)


def make_log_row(number: int, model_key: str = "llama.cpp:tiny") -> AccessLog:
    return AccessLog.objects.create(
        request_id=f"request-{number}",
        started_at=timezone.now(),
        endpoint="chat/completions",
        requested_model="current",
        route="current",
        model_key=model_key,
        status=200,
        prompt_tokens=12,
        completion_tokens=1234,
        ttft_ms=43.5904793556275,
        duration_ms=2544.5904793556275,
    )


@pytest.fixture
def furnished(make_model: MakeModel) -> RegisteredModel:
    """At least one row in every table; returns the target of `current`."""
    model = make_model("tiny", status=ModelStatus.LOADED)
    make_model("other")
    route = Route.objects.create(name="current", target=model)
    RouteChange.objects.create(route=route, key=model.key, actor="user:root")
    make_job(state=JobState.SUCCEEDED, progress=1.0)
    make_job(JobKind.SWITCH, "current", arguments={"key": model.key, "keep_previous": False})
    events.publish(name=EventName.MODEL_LOADED, subject=model.key, message="It was loaded.")
    make_log_row(1)
    ProfileRun.objects.create(model=model, complete=True, summary={"stages": []})
    Node.objects.create(name="local", pid=1, memory_total_bytes=2**34, memory_free_bytes=2**33)
    Group.objects.create(name="operators")
    keys.create(name="website", scopes=[Scope.INFER], actor="user:root")
    audit.record(channel=audit.Channel.API, actor="key:ci", action="load_model", status=202)
    return model
