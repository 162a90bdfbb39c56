"""A browser with a signed-in operator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.journeys.server import ROOT, NoaServer

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
# Ignored by git; kept by CI.
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / "build" / "screenshots"))
MARKS = [
    pytest.mark.browser,
    pytest.mark.llama,
    pytest.mark.timeout(300),
    # Playwright's own event loop leaves sockets to the garbage collector when its process ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@dataclass
class Operator:
    """A page of a signed-in person; `problems` are its requests to other hosts and its console messages."""

    server: NoaServer
    page: Page
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", self._check_request)
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        self.page.on(
            "console",
            lambda message: self.problems.append(message.text) if message.type == "error" else None,
        )

    def _check_request(self, request: Request) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.problems.append(f"requested {request.url}")

    def open(self, address: str) -> Page:
        self.page.goto(self.server.url + address)
        return self.page

    def sign_in(self) -> None:
        self.open("/admin/login/")
        self.page.fill("#id_username", "admin")
        self.page.fill("#id_password", self.server.password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"{self.server.url}/admin/")

    def confirm(self) -> str:
        """Submit the open dialog and wait for its job; the text of its panel at the end."""
        self.page.wait_for_selector("#dialog")
        self.page.locator("#modal-content button[type=submit]").click()
        self.page.wait_for_url("**/job/**")
        self.page.wait_for_selector("#noa-job:not([hx-get])", timeout=90_000)
        return self.page.inner_text("#noa-job").lower()

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def barriers(self) -> list[str]:
        """The serious and critical findings of axe-core on this page."""
        found: Any = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


def operator_of(server: NoaServer, running: Browser, **context: Any) -> Operator:
    """Signed in, in a window of 1440 pixels unless the context has another size."""
    options: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}} | context
    one = Operator(server, running.new_context(**options).new_page())
    one.watch()
    one.sign_in()
    return one
