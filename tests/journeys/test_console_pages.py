"""Every console page in a real browser: no foreign resource, no error, accessible, in both themes and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.journeys import browsing
from tests.journeys.browsing import Operator
from tests.journeys.server import NoaServer

pytestmark = browsing.MARKS

TABLES = "/admin/models_app/"
PAGES = {
    "overview": "/admin/",
    "playground": "/admin/playground/",
    "models": f"{TABLES}registeredmodel/",
    "model": f"{TABLES}registeredmodel/1/change/",
    "instances": f"{TABLES}instance/",
    "routes": f"{TABLES}route/",
    "route": f"{TABLES}route/1/change/",
    "providers": f"{TABLES}provider/",
    "new_provider": f"{TABLES}provider/add/",
    "profiles": f"{TABLES}profilerun/",
    "compare": "/admin/compare/",
    "nodes": f"{TABLES}node/",
    "node": f"{TABLES}node/1/change/",
    "requests": f"{TABLES}accesslog/",
    "jobs": f"{TABLES}job/",
    "events": f"{TABLES}event/",
    "audit": f"{TABLES}auditentry/",
    "keys": f"{TABLES}apikey/",
    "new_key": f"{TABLES}apikey/add/",
    "users": "/admin/auth/user/",
    "user": "/admin/auth/user/1/change/",
}
# The pages with NOA's own colours and shapes.
OWN = ("overview", "playground", "model", "requests", "compare")


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browsing.browser() as one:
        yield one


@pytest.fixture(scope="module")
def wide(server: NoaServer, running: Browser) -> Operator:
    return browsing.operator_of(server, running)


@pytest.fixture(scope="module")
def dark(server: NoaServer, running: Browser) -> Operator:
    return browsing.operator_of(server, running, color_scheme="dark")


@pytest.fixture(scope="module")
def phone(server: NoaServer, running: Browser) -> Operator:
    return browsing.operator_of(server, running, viewport={"width": 390, "height": 844})


def look(operator: Operator, name: str, suffix: str = "") -> None:
    operator.problems.clear()
    operator.open(PAGES[name]).wait_for_load_state("load")
    assert operator.barriers() == []
    operator.picture(name + suffix)
    assert operator.problems == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_error_and_no_barrier(wide: Operator, name: str) -> None:
    look(wide, name)


@pytest.mark.parametrize("name", OWN)
def test_a_page_is_as_readable_in_the_dark(dark: Operator, name: str) -> None:
    look(dark, name, "_dark")
    assert "dark" in (dark.page.locator("html").get_attribute("class") or "")


@pytest.mark.parametrize("name", OWN)
def test_a_page_fits_a_phone(phone: Operator, name: str) -> None:
    look(phone, name, "_phone")
    wider = phone.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0, f"{wider} pixels are beside the screen"
