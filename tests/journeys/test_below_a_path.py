"""NOA below a path of another server, behind a proxy that strips the path and behind one that does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

BASE = "/llm"
# Form: from the path that a browser asks for to the one that arrives.
PROXIES: dict[str, Callable[[str], str]] = {
    "stripped": lambda path: path.removeprefix(BASE) or "/",
    "not stripped": lambda path: path,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    data: Path = tmp_path_factory.mktemp("below") / "data"
    running = NoaServer(data_dir=data, environment={"NOA_BASE_PATH": BASE}).start()
    yield running
    running.kill()


def got(
    server: NoaServer, proxy: str, path: str, *, accept: str = "text/html", key: bool = False
) -> tuple[HTTPResponse, str]:
    """The answer, and its text unless it is a stream."""
    assert path.startswith(BASE + "/"), f"{path} leads out of {BASE}"
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {server.api_key}"} if key else {})
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("GET", PROXIES[proxy](path), headers=headers)
        with connection.getresponse() as answer:
            return answer, "" if "event-stream" in accept else answer.read().decode(errors="replace")


@pytest.mark.parametrize("proxy", PROXIES)
def test_redirects_links_and_static_files_stay_below_it(server: NoaServer, proxy: str) -> None:
    answer, _ = got(server, proxy, f"{BASE}/admin/")
    assert answer.status == 302
    answer, page = got(server, proxy, answer.headers["Location"])
    assert answer.status == 200
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert links and all(link.startswith(BASE + "/") for link in links), links
    static = [link for link in links if "/static/" in link]
    assert static
    for link in static:
        assert got(server, proxy, link)[0].status == 200, link
    cookie = [value for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    assert cookie


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_console_stays_below_it(server: NoaServer, proxy: str) -> None:
    answer, page = got(server, proxy, f"{BASE}/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    cookie = re.search(r"csrftoken=\w+", answer.headers["Set-Cookie"])
    assert token and cookie
    form = urlencode({"csrfmiddlewaretoken": token[1], "username": "admin", "password": server.password})
    headers = {"Cookie": cookie[0], "Content-Type": "application/x-www-form-urlencoded"}
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", PROXIES[proxy](f"{BASE}/admin/login/"), form, headers)
        with connection.getresponse() as entered:
            assert (entered.status, entered.headers["Location"]) == (302, f"{BASE}/admin/")
            session = re.search(r"sessionid=\w+", str(entered.headers))
        assert session
        for path in ("/admin/", "/admin/models_app/registeredmodel/"):
            connection.request(
                "GET", PROXIES[proxy](BASE + path), headers={"Cookie": session[0], "Accept": "text/html"}
            )
            with connection.getresponse() as shown:
                assert shown.status == 200
                page = shown.read().decode()
            links = re.findall(r'="(/(?!/)[^"]*)"', page)
            assert links and all(link.startswith(BASE + "/") for link in links), links


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_documentation_of_the_api_stays_below_it(server: NoaServer, proxy: str) -> None:
    answer, page = got(server, proxy, f"{BASE}/api/docs")
    assert answer.status == 200
    links = re.findall(r"[\"'](/[a-z][^\"' ]*/[^\"' ]*)[\"']", page)
    assert links and all(link.startswith(BASE + "/") for link in links), links
    _, document = got(server, proxy, f"{BASE}/api/schema", accept="application/json")
    value = json.loads(document)
    assert value["servers"] == [{"url": BASE}]
    assert all(path.startswith(("/api/", "/v1/")) for path in value["paths"]), list(value["paths"])


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_api_its_events_and_the_gateway_answer_there(server: NoaServer, proxy: str) -> None:
    assert got(server, proxy, f"{BASE}/livez")[0].status == 200
    assert got(server, proxy, f"{BASE}/v1/models", key=True)[0].status == 200
    assert got(server, proxy, f"{BASE}/api/v1/models", key=True, accept="application/json")[0].status == 200
    answer, _ = got(server, proxy, f"{BASE}/api/v1/events", key=True, accept="text/event-stream")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/event-stream")
    answer, page = got(server, proxy, f"{BASE}/api/v1/events?limit=1", key=True, accept="application/json")
    following = json.loads(page).get("next")
    assert following is None or f"{BASE}/api/v1/events" in following
