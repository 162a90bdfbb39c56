"""The SQL queries of each read with 1,000 models and lists longer than a page are within `query_budgets.json`.

A new operation needs a line there. Lower a number when a change makes it possible; raising one needs a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from models_app.domain.scopes import Scope
from models_app.models import (
    AccessLog,
    AccessText,
    Activity,
    AuditEntry,
    AutoSwitch,
    CapabilityEvidence,
    Event,
    Instance,
    Job,
    ModelVersion,
    Node,
    ProfileRun,
    ProfileSample,
    RegisteredModel,
    Route,
    RouteChange,
    StateSnapshot,
    Webhook,
    WebhookDelivery,
)
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from models_app.services.routes import routing
from tests.api.conftest import Api

BUDGETS: dict[str, int] = json.loads((Path(__file__).parent / "query_budgets.json").read_text())
MODELS = 1_000
# More than a page of any list.
ROWS = 60


def reads() -> dict[str, str]:
    """The path of every GET operation by its id, from the schema."""
    generator: Any = SchemaGenerator
    document = generator().get_schema(request=None, public=True)
    return {
        methods["get"]["operationId"]: path.removeprefix("/api/v1")
        for path, methods in document["paths"].items()
        if "get" in methods and path.startswith("/api/v1/")
    }


READS = reads()
# Required query parameters.
REQUIRED = {"/profiles/compare": "?runs={profile_id},{other_profile_id}"}


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, str]]:
    """A registry in use; yields the values of path parameters, and the API key as `authorization`."""
    with django_db_blocker.unblock():
        yield furnish()
        call_command("flush", interactive=False, verbosity=0)


def furnish() -> dict[str, str]:
    now = timezone.now()
    models = make_models()
    model, version = models[0], models[0].version
    Instance.objects.bulk_create(
        Instance(model=model, version=version, node="local", state="stopped") for _ in range(ROWS)
    )
    Node.objects.bulk_create(Node(name=f"n{number}", pid=1, heartbeat_at=now) for number in range(ROWS))
    jobs = Job.objects.bulk_create(
        Job(kind="load", subject=f"s{n}", arguments={}, state="succeeded") for n in range(ROWS)
    )
    events = Event.objects.bulk_create(Event(name="model-loaded", subject=model.key) for _ in range(ROWS))
    profiles = ProfileRun.objects.bulk_create(
        ProfileRun(model=model, version=version, complete=True, finished_at=now) for _ in range(ROWS)
    )
    ProfileSample.objects.bulk_create(
        ProfileSample(run=profiles[0], number=n, ok=True, e2el_ms=1.0) for n in range(ROWS)
    )
    routes = Route.objects.bulk_create(
        Route(name=f"n{n}", target=models[n], fallbacks=[models[n + 1].key]) for n in range(ROWS)
    )
    AutoSwitch.objects.create(route=routes[0])
    RouteChange.objects.bulk_create(RouteChange(route=routes[0], key=model.key) for _ in range(ROWS))
    StateSnapshot.objects.bulk_create(
        StateSnapshot(name=f"n{n}", content={"version": 1, "models": [], "routes": []}) for n in range(ROWS)
    )
    webhooks = Webhook.objects.bulk_create(Webhook(url="https://example.com/", secret="") for _ in range(ROWS))
    WebhookDelivery.objects.bulk_create(WebhookDelivery(webhook=webhooks[0], event=event) for event in events)
    AuditEntry.objects.bulk_create(AuditEntry(channel="api", action="load_model", status=202) for _ in range(ROWS))
    AccessLog.objects.bulk_create(
        AccessLog(
            request_id=f"r{n}",
            started_at=now,
            endpoint="/v1",
            model_key=model.key,
            status=200,
            duration_ms=1.0,
        )
        for n in range(ROWS)
    )
    AccessText.objects.create(request_id="r0", started_at=now, delete_at=now)
    Activity.objects.bulk_create(
        Activity(model_key=one.key, hour=now.replace(minute=0, second=0, microsecond=0), last_at=now) for one in models
    )
    CapabilityEvidence.objects.create(
        model=model, capability="vision", source="declared", verdict="supported", checked_at=now
    )
    routing.get()
    for _ in range(ROWS):
        key, text = keys.create(name="budget", scopes=[Scope.ADMIN], actor="test")
    return {
        "authorization": text,
        "key": model.key,
        "provider": model.provider.slug,
        "name": "n0",
        "job_id": str(jobs[0].pk),
        "event_id": str(events[0].pk),
        "profile_id": str(profiles[0].pk),
        "other_profile_id": str(profiles[1].pk),
        "webhook_id": str(webhooks[0].pk),
        "key_id": key.key_id,
        "request_id": "r0",
    }


def make_models() -> list[RegisteredModel]:
    provider = lookup.local_provider()
    models = RegisteredModel.objects.bulk_create(
        RegisteredModel(
            provider=provider,
            model_id=f"m{number}",
            key=f"llama.cpp:m{number}",
            name=f"M {number}",
            capability_index=",chat_completion,",
            context_window=4096,
        )
        for number in range(MODELS)
    )
    versions = ModelVersion.objects.bulk_create(
        ModelVersion(model=model, sha256="0" * 64, path="/a", size_bytes=1, file_mtime_ns=1) for model in models
    )
    for version in versions:
        version.model.version = version
    RegisteredModel.objects.bulk_update(models, ["version"], batch_size=200)
    return models


def cost(world: dict[str, str], path: str) -> list[str]:
    """The queries of one read, after an uncounted one that fills caches."""
    address = re.sub(r"{(\w+)}", lambda found: world[found[1]], path + REQUIRED.get(path, ""))
    client = Api(world["authorization"])
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        assert answer.status_code == 200, answer.content
    return [query["sql"] for query in queries.captured_queries]


@pytest.mark.django_db
@pytest.mark.parametrize("operation", READS)
def test_a_read_stays_in_its_budget(world: dict[str, str], operation: str) -> None:
    assert operation in BUDGETS, f"write a line for {operation} into query_budgets.json"
    queries = cost(world, READS[operation])
    assert len(queries) <= BUDGETS[operation], "\n".join(queries)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "page_size=500",
        "q=m&capability=chat_completion&page_size=500",
        "ordering=-size_bytes&page=20",
    ],
)
def test_neither_long_pages_nor_filters_cost_more_queries(world: dict[str, str], query: str) -> None:
    assert len(cost(world, f"/models?{query}")) <= BUDGETS["list_models"]


def test_every_budget_belongs_to_an_operation() -> None:
    assert set(BUDGETS) <= set(READS)
