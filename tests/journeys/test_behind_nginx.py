"""NOA behind the nginx that docs/production.md shows."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import orjson
import pytest

from tests import markdown
from tests.journeys.rows import query
from tests.journeys.server import NoaServer, free_port
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

REQUEST_ID = "behind-nginx"
AROUND = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{documented}
}}
"""


def documented() -> str:
    """The configuration as the page shows it, without TLS."""
    text = markdown.page("docs/production.md").text
    block = re.search(r"\n((?:    .*\n|\n)*    upstream noa \{\n(?:    .*\n)+)", text)
    assert block, "docs/production.md shows no configuration of nginx"
    return block[1]


@pytest.fixture
def nginx(own_server: Callable[..., NoaServer], tmp_path: Path) -> Iterator[tuple[NoaServer, str]]:
    """A server that trusts nginx, and the address at which nginx listens."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program, "nginx is needed to try what the documentation shows"
    server = own_server(environment={"NOA_TRUSTED_PROXIES": "127.0.0.1"}).start()
    port = free_port()
    shown = documented().replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    shown = shown.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(
        "server_name noa.example.org;", "server_name localhost;"
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(AROUND.format(folder=tmp_path, documented=shown))
    process = subprocess.Popen([program, "-c", str(configuration), "-p", str(tmp_path)])
    try:
        until(lambda: answers(f"http://localhost:{port}/livez"), "nginx served")
        yield server, f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(server: NoaServer, url: str, *, stream: bool, tokens: int, forwarded: str) -> Request:
    body = {
        "model": "current",
        "stream": stream,
        "max_tokens": tokens,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Hello!"}],
    }
    return Request(
        f"{url}/v1/chat/completions",
        orjson.dumps(body),
        {
            "Authorization": f"Bearer {server.api_key}",
            "Content-Type": "application/json",
            "X-Forwarded-For": forwarded,
            "X-Request-ID": REQUEST_ID,
        },
    )


def client_of(server: NoaServer, request_id: str) -> str:
    sql = f"SELECT client FROM models_app_accesslog WHERE client_request_id = '{request_id}'"
    until(lambda: query(server, sql), "the request was in the access log")
    return str(query(server, sql)[0][0])


def test_streams_come_as_they_are_made_and_the_client_is_known(
    nginx: tuple[NoaServer, str],
) -> None:
    server, url = nginx
    with urlopen(ask(server, url, stream=True, tokens=400, forwarded="9.9.9.9"), timeout=60) as answer:
        first = answer.readline()
        # Only a part arrived with the first event: nginx does not buffer the answer.
        arrived_at_once = len(answer.peek())
        rest = answer.read()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert arrived_at_once < len(rest) / 2
    # nginx replaces the client's own X-Forwarded-For by the address that it saw.
    assert client_of(server, REQUEST_ID) == "127.0.0.1"


@pytest.mark.parametrize(
    ("trusted", "client", "login"),
    [("127.0.0.1", "9.9.9.9", 302), ("10.0.0.0/8", "127.0.0.1", 403)],
)
def test_only_a_trusted_proxy_is_believed(
    own_server: Callable[..., NoaServer], trusted: str, client: str, login: int
) -> None:
    server = own_server(environment={"NOA_TRUSTED_PROXIES": trusted}).start()
    with urlopen(ask(server, server.url, stream=False, tokens=2, forwarded="9.9.9.9")) as answer:
        assert answer.status == 200
    assert client_of(server, REQUEST_ID) == client
    # Django compares a form's origin with the scheme of the request.
    assert log_in_over_tls(server) == login


def log_in_over_tls(server: NoaServer) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"X-Forwarded-Proto": "https", "Origin": f"https://127.0.0.1:{server.port}"}
    connection.request("GET", "/admin/login/", headers=headers)
    page = connection.getresponse()
    text = page.read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
    cookie = re.search(r"csrftoken=\w+", page.headers["Set-Cookie"])
    assert token and cookie
    form = urlencode({"csrfmiddlewaretoken": token[1], "username": "admin", "password": server.password})
    headers |= {"Cookie": cookie[0], "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/admin/login/", form, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status
