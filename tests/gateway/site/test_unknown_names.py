"""Keys and names that do not exist cost no read of the registry, however many are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from django.db.backends.utils import CursorWrapper

from models_app.gateway.routing import refreshing
from models_app.models import RegisteredModel, RoutingRevision
from models_app.services.api_keys import keys
from models_app.services.catalog import lookup
from tests.gateway.site.test_site import RunningSite, model, runner, site  # noqa: F401 (fixtures)
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

MODELS = 6000
REQUESTS = 60
CHAT = "/v1/chat/completions"

# Sends the request number `n` with a valid key or a random one, and returns the status.
Ask = Callable[[httpx2.Client, str, int], int]


def _random_key(client: httpx2.Client, key: str, n: int) -> int:
    return client.get("/v1/models", headers={"Authorization": f"Bearer noa_{n}"}).status_code


def _random_key_for_inference(client: httpx2.Client, key: str, n: int) -> int:
    return client.post(CHAT, json={"model": "current"}, headers={"x-api-key": f"noa_{n}"}).status_code


def _random_name(client: httpx2.Client, key: str, n: int) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return client.post(CHAT, json={"model": f"none-{n}"}, headers=headers).status_code


def _random_name_in_the_list(client: httpx2.Client, key: str, n: int) -> int:
    return client.get(f"/v1/models/none-{n}", headers={"Authorization": f"Bearer {key}"}).status_code


WAYS: dict[str, tuple[Ask, int]] = {
    "a key": (_random_key, 401),
    "a key for inference": (_random_key_for_inference, 401),
    "a model": (_random_name, 404),
    "a model in the list": (_random_name_in_the_list, 404),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_unknown_reads_the_revision_only(
    site: RunningSite,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    ask, status = WAYS[way]
    provider = lookup.local_provider()
    RegisteredModel.objects.bulk_create(
        RegisteredModel(provider=provider, model_id=f"m{n}", key=f"llama.cpp:m{n}") for n in range(MODELS)
    )
    _, key = keys.create(name="test", scopes=["infer"], actor="test")
    revision = RoutingRevision.objects.get().revision
    until(lambda: site.site.snapshots.current.revision == revision, "the snapshot had all models")
    # Otherwise most of the requests would not look at all.
    monkeypatch.setattr(refreshing, "_MISS_SECONDS", 0.0)
    queries: list[str] = []
    execute = CursorWrapper.execute

    def spy(cursor: CursorWrapper, sql: str, params: Any = None) -> Any:
        if threading.current_thread().name == "routing-snapshots":
            queries.append(sql)
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", spy)
    with httpx2.Client(base_url=site.url) as client, ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda n: ask(client, key, n), range(REQUESTS))) == {status}
    # The thread can still be at the read that the new key has caused.
    assert sum(f'FROM "{RegisteredModel._meta.db_table}"' in sql for sql in queries) <= 2


def test_a_key_of_another_process_is_found_at_once(site: RunningSite) -> None:  # noqa: F811
    """A notification can be late: the first request with an unknown key looks for a newer revision."""
    from models_app.services.coordination import signals

    signals.routing_changed.disconnect(site.site.snapshots._on_change)
    signals.database_changed.disconnect(site.site.snapshots._wake)
    _, key = keys.create(name="new", scopes=["infer"], actor="test")
    with httpx2.Client(base_url=site.url) as client:
        assert _random_name_in_the_list(client, key, 1) == 404
