"""Five secrets, configured in all five ways, appear nowhere after requests and failures of every kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pytest

from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_faults import Refusal
from tests.fakes.provider_server import Recorded
from tests.journeys.server import NoaServer, free_port

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(240)]

BY_API = "sk-canary-by-api-4d1c09b2"
BY_VARIABLE = "sk-canary-by-variable-77aa31"
BY_LIST = "sk-canary-by-list-e02f58c6"
OF_WEBHOOK = "canary-of-a-webhook-93b7d1e4"
READS = (
    "/providers",
    "/providers/refused",
    "/providers/openai",
    "/providers/listed",
    "/models",
    "/models/loaded",
    "/models/statistics",
    "/models/export",
    "/jobs",
    "/events?limit=500",
    "/audit?limit=500",
    "/webhooks",
    "/access-log",
    "/state",
    "/state/snapshots",
    "/api-keys",
    "/me",
    "/routes",
    "/models/listed:gpt-4o",
)
PAGES = ("provider", "event", "job", "registeredmodel", "instance", "apikey", "accesslog")


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    """A provider that accepts one key, and repeats any other key in its refusal."""

    class Repeating(FakeOpenAI):
        def refuse(self, request: Recorded) -> Refusal | None:
            refusal = super().refuse(request)
            if refusal is None or refusal.status != 401:
                return refusal
            given = request.headers.get("authorization", "")
            return Refusal(401, "auth", f"Incorrect API key provided: {given} ({given[7:]}).")

    with Repeating(key=BY_LIST) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, fake: FakeOpenAI) -> Iterator[NoaServer]:
    listed = {
        "slug": "listed",
        "kind": "openai",
        "base_url": fake.base_url,
        "api_key": BY_LIST,
        "allow_private_addresses": True,
    }
    variables = {
        "OPENAI_API_KEY": BY_VARIABLE,
        # A name that resolves nowhere, wherever this runs.
        "OPENAI_BASE_URL": "http://openai.invalid/v1",
        "NOA_PROVIDERS": json.dumps([listed]),
        "NOA_LOG_LEVEL": "DEBUG",
    }
    running = NoaServer(tmp_path / "data", environment=variables).start()
    yield running
    running.kill()


class Asking:
    """Keeps every answer as text."""

    def __init__(self, server: NoaServer) -> None:
        self._server = server
        self.answers: list[str] = []

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        status, answer = self._server.api(method, path, body, **more)
        self.answers.append(json.dumps(answer))
        return status, answer


def configure(ask: Asking, fake: FakeOpenAI, server: NoaServer) -> str:
    """Providers and a webhook; returns the text of a new API key, which one answer shows on purpose."""
    refused = {
        "slug": "refused",
        "kind": "openai",
        "base_url": fake.base_url,
        "api_key": BY_API,
        "allow_private_addresses": True,
    }
    assert ask("POST", "/api/v1/providers", refused)[0] == 201
    for wrong in (
        {},
        {"slug": "b", "api_key": f"{BY_API}\n"},
        {"slug": "c", "secret_env": "NOA_X"},
    ):
        assert ask("POST", "/api/v1/providers", refused | wrong)[0] in (400, 409)
    assert ask("PATCH", "/api/v1/providers/refused", {"name": "Refused"})[0] == 200
    webhook = {
        "url": f"http://127.0.0.1:{free_port()}/hook",
        "secret": OF_WEBHOOK,
        "allow_private_addresses": True,
    }
    status, made = ask("POST", "/api/v1/webhooks", webhook)
    assert status == 201, made
    ask("POST", f"/api/v1/webhooks/{made['id']}/test")
    _, key = server.api("POST", "/api/v1/api-keys", {"name": "canary", "scopes": ["read"]})
    return str(key["key"])


def use(ask: Asking, key: str) -> None:
    """Successful and failing requests to each of the providers."""
    for slug in ("refused", "openai", "listed"):
        ask("POST", f"/api/v1/providers/{slug}/test", {})
        ask("POST", "/api/v1/models/discover?wait=60", {"provider": slug})
    assert ask("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
    for slug in ("refused", "openai"):
        status, answer = ask("POST", "/api/v1/models", {"provider": slug, "model": "gpt-4o"})
        assert status == 201, answer
        status, answer = ask("POST", "/api/v1/models/load?wait=60", {"key": f"{slug}:gpt-4o"})
        assert status == 409, answer
    status, answer = ask("POST", "/api/v1/models/load?wait=60", {"key": "listed:gpt-4o"})
    assert status == 200, answer
    for model in ("listed:gpt-4o", "refused:gpt-4o", "current"):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        ask("POST", "/v1/chat/completions", body)
        ask("POST", "/v1/chat/completions", body, key=key)
    ask("POST", "/api/v1/models/load", {"key": "listed:gpt-4o"}, key=key)
    ask("PATCH", "/api/v1/providers/listed", {"name": "x"})
    ask("DELETE", "/api/v1/providers/refused")
    for path in READS:
        assert ask("GET", f"/api/v1{path}")[0] == 200, path
        ask("GET", f"/api/v1{path}", key=key)


def pages_of_the_console(server: NoaServer) -> Iterator[str]:
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    login = f"{server.url}/admin/login/"
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', read(opener, login))
    assert token is not None
    form = {"username": "admin", "password": server.password, "csrfmiddlewaretoken": token[1]}
    sent = Request(login, urlencode(form).encode(), {"Referer": login})
    yield read(opener, sent)
    for name in PAGES:
        page = read(opener, f"{server.url}/admin/models_app/{name}/")
        yield page
        if name in ("provider", "event", "job"):
            rows = set(re.findall(rf"/admin/models_app/{name}/([\w-]+)/change/", page))
            assert rows, f"there is no {name} to look at"
            for row in rows:
                yield read(opener, f"{server.url}/admin/models_app/{name}/{row}/change/")


def read(opener: OpenerDirector, what: str | Request) -> str:
    with opener.open(what, timeout=60) as answer:
        return str(answer.read().decode())


def test_no_secret_is_to_be_found_anywhere(server: NoaServer, fake: FakeOpenAI, tmp_path: Path) -> None:
    ask = Asking(server)
    key = configure(ask, fake, server)
    use(ask, key)
    places = {f"answer {number}": text for number, text in enumerate(ask.answers)}
    places |= {f"page {n}": text for n, text in enumerate(pages_of_the_console(server))}
    runners = server.runner_pids()
    assert runners, "no runner to look at"
    places |= {f"environment of runner {pid}": Path(f"/proc/{pid}/environ").read_text() for pid in runners}
    server.stop()
    places["log"] = server.text
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file() and path.stat().st_size < 2**26:
            places[path.name] = path.read_bytes().decode("latin-1")

    sent = {request.headers.get("authorization", "") for request in fake.requests}
    assert {f"Bearer {BY_API}", f"Bearer {BY_LIST}"} <= sent, "the secrets were not even used"
    assert places["noa.sqlite3"]
    canaries = (BY_API, BY_VARIABLE, BY_LIST, OF_WEBHOOK, key)
    found = [f"{canary[:24]}… in {place}" for place, text in places.items() for canary in canaries if canary in text]
    assert found == []
