"""A list of fifty rows needs as many queries as a list of five."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from models_app.domain.events import EventName
from models_app.models import Provider, RegisteredModel, Route
from models_app.services.api_keys import keys
from models_app.services.events import events
from tests.admin.conftest import make_instance, make_job, make_log_row

Make = Callable[[Any, int], object]


def _route(make_model: Any, number: int) -> object:
    return Route.objects.create(name=f"r{number}", target=make_model(f"m{number}"))


MAKERS: dict[str, Make] = {
    "registeredmodel": _route,
    "route": _route,
    "instance": lambda make_model, number: make_instance(make_model(f"m{number}")),
    "job": lambda make_model, number: make_job(subject=f"s{number}"),
    "event": lambda make_model, number: events.publish(name=EventName.MODEL_LOADED, subject="s"),
    "accesslog": lambda make_model, number: make_log_row(number),
    "apikey": lambda make_model, number: keys.create(name="n", scopes=["infer"], actor="test"),
    "provider": lambda make_model, number: Provider.objects.create(slug=f"p{number}", kind="openai"),
}


def queries_of(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("table", MAKERS)
def test_the_number_of_queries_does_not_grow_with_the_rows(console: Client, make_model: Any, table: str) -> None:
    address = reverse(f"admin:models_app_{table}_changelist")
    for number in range(5):
        MAKERS[table](make_model, number)
    few = queries_of(console, address)
    for number in range(5, 50):
        MAKERS[table](make_model, number)
    many = queries_of(console, address)
    assert len(many) == len(few), many
    assert len(many) <= 12, many


@pytest.mark.parametrize("table", ["accesslog", "event"])
def test_what_grows_with_the_traffic_is_never_counted(console: Client, make_model: Any, table: str) -> None:
    MAKERS[table](make_model, 1)
    queries = queries_of(console, reverse(f"admin:models_app_{table}_changelist"))
    assert [sql for sql in queries if "COUNT(" in sql.upper() and f"models_app_{table}" in sql] == []


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("admin:index", 20),
        ("console:playground", 12),
        ("console:compare", 8),
        ("console:series", 4),
        ("admin:models_app_registeredmodel_change", 20),
        ("admin:models_app_accesslog_change", 10),
        ("admin:models_app_profilerun_change", 10),
        ("admin:models_app_node_change", 16),
        ("admin:models_app_route_change", 12),
        ("admin:models_app_job_change", 10),
    ],
)
def test_a_page_asks_the_database_a_bounded_number_of_times(
    console: Client, furnished: RegisteredModel, name: str, most: int
) -> None:
    table = name.removesuffix("_change").rpartition("_")[2]
    models = {model._meta.model_name: model for model in admin.site._registry}
    arguments = [models[table]._default_manager.values_list("pk", flat=True)[0]] if name.endswith("_change") else []
    queries = queries_of(console, reverse(name, args=arguments))
    assert len(queries) <= most, queries
