"""Requests without a key do a bounded amount of work: few queries, the same number each time."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from models_app.domain.records.refusals import Sampler
from models_app.services.coordination import audit
from tests.api.walking import METHODS, addresses

MORE = {"/favicon.ico", "/static/noa/logo.svg", "/nothing", "/api/nothing"}
PATHS = sorted({path for path, _ in addresses()} | MORE)
_CLIENT = Client(raise_request_exception=False)
# What a client without a usable key or session can send, and the queries that this costs: one reads the revision,
# one the key, one the session.
SENT: dict[str, tuple[dict[str, str], int]] = {
    "nothing": ({}, 0),
    "a wrong key": ({"Authorization": "Bearer noa_0123456789ab_secret"}, 2),
    "a malformed header": ({"Authorization": "Basic YTpi"}, 0),
    "a wrong session": ({"Cookie": "sessionid=0123456789abcdef0123456789abcdef"}, 1),
    "both": ({"Authorization": "Bearer noa_0123456789ab_secret", "Cookie": "sessionid=0123456789abcdef"}, 2),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", SENT)
def test_every_address_costs_few_queries(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rows of the first refused calls in a minute, and of each minute's others, are not counted here.
    monkeypatch.setattr(audit, "_anonymous", Sampler(0, 0))
    monkeypatch.setattr(audit, "write_summaries", lambda: None)
    headers, most = SENT[name]
    found = {}
    for path in PATHS:
        for method in (*METHODS, "head", "options"):
            with CaptureQueriesContext(connection) as queries:
                answer = getattr(_CLIENT, method)(path, headers=headers)
            assert answer.status_code != 500, (method, path)
            # Within this test's transaction PostgreSQL marks the begin of each inner one.
            asked = [query["sql"][:80] for query in queries if "SAVEPOINT" not in query["sql"][:20]]
            if len(asked) > most:
                found[f"{method} {path}"] = asked
    assert found == {}


@pytest.mark.django_db
def test_pages_for_anonymous_clients_are_small() -> None:
    answers = {path: _CLIENT.get(path) for path in PATHS}
    large = {path for path, answer in answers.items() if not answer.streaming and len(answer.content) > 64 * 1024}
    # The document is made once per process.
    assert large <= {"/api/schema"}
