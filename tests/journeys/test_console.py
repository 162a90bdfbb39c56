"""An operator in a real browser: read, act, and see the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Error

from tests.journeys import browsing
from tests.journeys.browsing import Operator
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = browsing.MARKS

MODELS = "/admin/models_app/registeredmodel/"
DEMOS = ("llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide")
# Records each value of an element's text, however short-lived.
WATCH = """selector => { window.seen = [];
    const look = () => { const text = document.querySelector(selector)?.textContent ?? '';
        if (seen.at(-1) !== text) seen.push(text); };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
# Tracks the open streams of the page.
STREAMS = """window.streams = []; const Real = EventSource;
    window.EventSource = class extends Real { constructor(url) { super(url); streams.push(this); } };"""


@pytest.fixture(scope="module")
def signed_in(server: NoaServer) -> Iterator[Operator]:
    with browsing.browser() as running:
        yield browsing.operator_of(server, running)


@pytest.fixture
def operator(signed_in: Operator) -> Iterator[Operator]:
    """Requests to other hosts and console messages fail the test."""
    signed_in.problems.clear()
    yield signed_in
    assert signed_in.problems == []


def current(server: NoaServer) -> str:
    _, answer = server.api("GET", "/api/v1/models/current")
    return str(answer["model"]["key"])


def other(key: str) -> str:
    return next(one for one in DEMOS if one != key)


def open_model(operator: Operator, key: str) -> None:
    operator.open(MODELS).get_by_role("link", name=key).first.click()
    operator.page.wait_for_selector("#noa-copies")


def test_the_overview_says_what_is_current_and_stays_true(server: NoaServer, operator: Operator) -> None:
    operator.page.add_init_script(STREAMS)
    page = operator.open("/admin/")
    assert current(server) in page.inner_text("#noa-overview")
    page.get_by_text("Live", exact=True).wait_for()
    server.api("POST", "/api/v1/api-keys", {"name": "seen live", "scopes": ["infer"]})
    page.get_by_text("The API key 'seen live' was created.").wait_for()
    operator.picture("overview")

    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate("streams.map(one => one.readyState)") == [2]
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => false})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate("streams.filter(one => one.readyState < 2).length") == 1


def test_an_operator_switches_from_the_overview(server: NoaServer, operator: Operator) -> None:
    before = current(server)
    page = operator.open("/admin/")
    page.get_by_role("button", name="Switch…").click()
    page.wait_for_selector("#dialog")
    page.locator("#id_model").select_option(label=other(before))
    assert "succeeded" in operator.confirm()
    steps = page.inner_text("#noa-job")
    assert "Move" in steps
    assert current(server) == other(before)
    operator.picture("switched")


def test_an_operator_loads_a_model_and_sees_what_it_takes(server: NoaServer, operator: Operator) -> None:
    key = other(current(server))
    server.api("POST", "/api/v1/models/unload?wait=30", {"key": key})
    open_model(operator, key)
    page = operator.page
    page.get_by_text("Load…").first.click()
    page.wait_for_selector("#dialog")
    text = page.inner_text("#dialog")
    assert "It needs" in text
    assert "are free" in text
    assert "It takes about" in text
    operator.picture("load_dialog")
    assert "succeeded" in operator.confirm()
    page.get_by_role("link", name=f"Go to {key}").click()
    page.get_by_text("It is loaded.").wait_for()
    page.locator("#noa-copies .noa-badge", has_text="ready").wait_for()


def test_an_operator_profiles_a_model_and_sees_it_move(server: NoaServer, operator: Operator) -> None:
    key = current(server)
    open_model(operator, key)
    page = operator.page
    page.get_by_role("button", name="Profile…").click()
    page.wait_for_selector("#dialog")
    page.locator("#id_requests").fill("40")
    page.locator("#id_concurrency").fill("1")
    page.locator("#id_max_tokens").fill("48")
    page.locator("#modal-content button[type=submit]").click()
    page.wait_for_url("**/job/**")
    page.evaluate(WATCH, "#noa-job")
    seen: list[str] = []

    def ended() -> bool:
        with suppress(Error):  # the page reloads itself when the job has ended
            seen.extend(page.evaluate("window.seen ?? []"))
        return page.locator("#noa-job:not([hx-get])").count() > 0

    until(ended, "the profile has ended", 90)
    percents = {line.split("%")[0].split()[-1] for line in seen if "%" in line}
    assert len(percents) >= 2, "the progress never moved"
    assert "succeeded" in page.inner_text("#noa-job").lower()


def test_an_operator_chats_and_finds_the_request(server: NoaServer, operator: Operator) -> None:
    page = operator.open("/admin/playground/")
    page.evaluate(WATCH, ".noa-words")
    page.get_by_role("button", name="Compare two").click()
    page.get_by_label("Message").fill("Hello, who are you?")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-recorded] >> nth=1", timeout=60_000)
    answers = [box.inner_text() for box in page.locator(".noa-words").all()]
    assert len(answers) == 2
    assert all(answers)
    pieces = [text for text in page.evaluate("seen") if text]
    assert len(pieces) >= 3, f"the answer did not come in pieces: {pieces}"
    facts = page.locator(".noa-said-facts").first.inner_text()
    for text in ("first token", "tokens/s", "tokens", "took"):
        assert text in facts
    operator.picture("playground")
    page.get_by_role("button", name="View code").click()
    for language, words in (
        ("Python", "OpenAI("),
        ("JavaScript", "await client"),
        ("curl", "curl http"),
    ):
        page.get_by_role("button", name=language).click()
        assert words in page.inner_text("#noa-code-text")
    page.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="The request").first.click()
    page.get_by_text("where the time went").wait_for()
    assert "First token" in page.inner_text(".noa-legend")
    operator.picture("request")


def test_a_chat_can_be_stopped(operator: Operator) -> None:
    page = operator.open("/admin/playground/")
    begun: list[Any] = []
    # Left unanswered: the page waits for a click on Stop.
    page.route("**/v1/chat/completions", lambda route: begun.append(route))
    page.get_by_label("Message").fill("Count from one to a thousand.")
    page.keyboard.press("Enter")
    page.get_by_text("Waiting for the first token").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for()
    page.get_by_role("button", name="Send").wait_for()
    page.unroute("**/v1/chat/completions")
    assert len(begun) == 1


def test_search_finds_models_by_keyboard(operator: Operator) -> None:
    page = operator.open("/admin/")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Control+k")
    page.locator("#search-input-command").wait_for()
    page.keyboard.type("noa-demo-tide", delay=20)
    page.locator("#command-results-list li").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/registeredmodel/*/change/")
    assert "noa-demo-tide" in page.inner_text("h1")


def test_what_a_model_writes_is_text(server: NoaServer, operator: Operator) -> None:
    page = operator.open("/admin/playground/")
    piece = '{"choices":[{"delta":{"content":"<img src=x onerror=alert(1)><b>bold</b>"}}]}'

    def answer(route: Any) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=f"data: {piece}\n\ndata: [DONE]\n\n")

    page.route("**/v1/chat/completions", answer)
    page.get_by_label("Message").fill("Write HTML.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".noa-words:not(:empty)")
    assert page.locator(".noa-words").inner_text() == "<img src=x onerror=alert(1)><b>bold</b>"
    assert page.locator(".noa-words img, .noa-words b").count() == 0
    page.unroute("**/v1/chat/completions")
