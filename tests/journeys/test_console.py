"""An operator in a real browser: sign in, look, switch, watch the job."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from tests.journeys.server import NoaServer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.llama,
    pytest.mark.timeout(300),
    # Playwright's own event loop leaves sockets to the garbage collector when its process ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
MODELS = "/admin/models_app/registeredmodel/"
JOB_ENDED = "#noa-job:not([hx-get])"


@pytest.fixture
def page(server: NoaServer) -> Iterator[Page]:
    """A page of the signed-in operator; what it asks of other hosts and what its console says fails the test."""
    problems: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            problems.append(f"asked for {request.url}")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        one = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        one.on("request", note_request)
        one.on("pageerror", lambda error: problems.append(f"script error: {error}"))
        one.on(
            "console",
            lambda said: problems.append(said.text) if said.type == "error" else None,
        )
        one.goto(f"{server.url}/admin/login/")
        one.fill("#id_username", "admin")
        one.fill("#id_password", server.password)
        one.click("button[type=submit]")
        one.wait_for_url(f"{server.url}/admin/")
        yield one
        browser.close()
    assert problems == []


def test_an_operator_switches_models(server: NoaServer, page: Page) -> None:
    _, answer = server.api("GET", "/api/v1/models/current")
    before = answer["model"]["key"]
    after = next(
        key for key in ("llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide") if key != before
    )
    page.goto(server.url + MODELS)
    page.get_by_role("link", name=after).first.click()
    page.get_by_text("Make current…").first.click()
    page.wait_for_selector("#dialog")
    page.locator("#modal-content button[type=submit]").click()
    page.wait_for_url("**/job/**")
    page.wait_for_selector(JOB_ENDED, timeout=60_000)
    assert "succeeded" in page.inner_text("#noa-job").lower()
    _, answer = server.api("GET", "/api/v1/models/current")
    assert answer["model"]["key"] == after


def test_the_overview_says_what_is_current(server: NoaServer, page: Page) -> None:
    _, answer = server.api("GET", "/api/v1/models/current")
    page.goto(f"{server.url}/admin/")
    assert answer["model"]["key"] in page.inner_text("#noa-overview")
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/overview.png")
        page.goto(server.url + MODELS)
        page.screenshot(path=f"{folder}/models.png")
