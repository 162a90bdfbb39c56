"""Where processes judge each other, the wall clock decides nothing: it can be set, and differs between machines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.markdown import ROOT

FLOOR = ROOT / "models_app"
# Rooms and modules with leases, ages, heartbeats and deadlines.
ROOMS = (
    "services/runners",
    "services/nodes",
    "services/coordination/leases.py",
    "services/coordination/locks.py",
    "services/coordination/idempotency.py",
    "services/events/deliveries.py",
    "services/jobs/jobs.py",
    "services/lifecycle/demand.py",
    "services/lifecycle/eviction.py",
    "services/lifecycle/on_demand.py",
    "services/lifecycle/admission.py",
    "services/log_ins",
    "services/routes/suspects.py",
    "tasks/worker.py",
    "tasks/periodic.py",
    "tasks/recovering.py",
    "tasks/nodes.py",
    "tasks/pickup.py",
    "domain/residency",
    "threads.py",
    "clocks.py",
    "engines",
    "management/server.py",
    "management/web_processes.py",
    "gateway/http",
    "gateway/upstream",
)
# By module and function: why the wall clock is right there.
ALLOWED = {
    "services/runners/instances.py:move": "records when a state began, for display",
    "services/runners/instances.py:_update_status": "records when the model failed, for display",
    "services/runners/health.py:_store": "records the last success, for display",
    "services/runners/failover.py:_schedule": "due at once; `_DueTimes` bounds what a step of the clock can add",
    "services/runners/recovery.py:fail": "how long the model served: an attempt counts as well after five minutes",
    "services/runners/recovery.py:release_hold": "the row's time, which `_DueTimes` bounds",
    "services/runners/recovery.py:_count": "the row's times, which `_DueTimes` and `policy.remembered` bound",
    "services/runners/recovery.py:left": "bounded by the pause of the policy, and read once for each attempt",
    "services/runners/recovery.py:_request_load": "when the model should be back, for requests that wait",
    "services/runners/recovery_facts.py:record_recovered": "records how long it was away, for display",
    "services/nodes/nodes.py:heartbeat": "only a change of the value counts",
    "services/nodes/nodes.py:_mark_lost": "records when, for display; null or not decides",
    "services/nodes/nodes.py:_is_free": "by a worker that starts and has observed nothing; a live one is fenced",
    "services/nodes/nodes.py:_take_over": "only a change of the value counts",
    "services/nodes/observing.py:look": "the age of a node that this process has just found, for display and placement",
    "services/coordination/leases.py:claim": "bears an early end; a late one is recognised",
    "services/coordination/idempotency.py:_is_over": "a key of the future counts from now",
    "services/coordination/idempotency.py:_delete_old": "a key is kept for a day, or less after a step",
    "services/events/deliveries.py:due_webhooks": "`_due` bounds what a step of the clock can add",
    "services/events/deliveries.py:send_due": "`_due` bounds what a step of the clock can add",
    "services/events/deliveries.py:_claim": "bounded by the longest wait after the same attempts",
    "services/events/deliveries.py:_record": "the row's time, which `_due` bounds",
    "services/events/deliveries.py:_publish_failing": "records since when, for display",
    "services/events/deliveries.py:send_test": "the time of the made-up event",
    "services/events/deliveries.py:_headers": "the receiver compares the signed time with its own clock",
    "services/jobs/jobs.py:run": "records when it began, for display",
    "services/jobs/jobs.py:_ended": "records when it ended, for display",
    "services/jobs/jobs.py:cancel": "records when, for display; null or not decides",
    "services/jobs/jobs.py:unclaimed": "a job of the future was queued before a step, and is old",
    "services/jobs/jobs.py:step": "records when it began, for display",
    "services/lifecycle/demand.py:publish": "the row's time, which `_is_current` bounds",
    "services/lifecycle/demand.py:_is_current": "bounded on both sides; a live process publishes every second",
    "services/lifecycle/eviction.py:_store_use": "records the last use, to order models",
    "services/lifecycle/on_demand.py:_recovering": "what is further away than any rest was before a step",
    "services/lifecycle/on_demand.py:_refusal": "a load that ended in the future is no reason",
    "services/lifecycle/on_demand.py:_coming": "a forecast, at least of nothing",
    "services/lifecycle/admission.py:_resident": "a model that was loaded in the future need not stay",
    "services/log_ins/brake.py:begin": "`_bring_back` bounds what a step of the clock can add",
    "services/log_ins/brake.py:succeed": "until when an address is known, in months",
    "services/log_ins/brake.py:_locked": "the row's time, which `_bring_back` bounds",
    "services/log_ins/brake.py:delete_old": "deletes what does not count any more",
    "services/routes/suspects.py:may_retry": "a trial of the future counts from the next clean-up",
    "services/routes/suspects.py:delete_expired": "a suspicion of the future counts from now",
    "services/routes/suspects.py:_trials": "a trial of the future counts from the next clean-up",
    "services/routes/suspects.py:_since": "a suspicion of the future counts from the next clean-up",
    "engines/certificates.py:_builder": "the validity of a certificate",
    "engines/runner/endpoints/answers.py:envelope": "the time in an answer",
    "engines/runner/formats/template.py:_strftime_now": "the date that a template writes",
    "engines/runner/serving.py:_serve": "the time in the list of models",
}
# What a loop's own timer ends: it counts the time in which the process stood still.
TIMERS = {"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"}
WALL = {"now", "time", "Now", "utcnow", "today"}


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """The functions of a module that read the wall clock, with the call."""
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _is_wall(node.func):
                    yield function.name, ast.unparse(node)


def _is_wall(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id in ("time", "Now")
    if not isinstance(called, ast.Attribute) or called.attr not in WALL:
        return False
    # An event loop has a monotonic clock of this name.
    return ast.unparse(called.value).split(".")[-1] in ("time", "timezone", "datetime", "date")


def timers(path: Path) -> Iterator[str]:
    """Calls that end after so many seconds by the clock of an event loop."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in TIMERS:
            yield f"{path.relative_to(FLOOR)}: {ast.unparse(node)}"


def modules() -> Iterator[Path]:
    for room in ROOMS:
        path = FLOOR / room
        assert path.exists(), room
        yield from sorted(path.rglob("*.py")) if path.is_dir() else (path,)


def found() -> dict[str, str]:
    return {f"{path.relative_to(FLOOR)}:{name}": call for path in modules() for name, call in calls(path)}


def test_the_wall_clock_is_read_only_where_it_is_right() -> None:
    others = {where: call for where, call in found().items() if where not in ALLOWED}
    assert others == {}, "Use models_app.clocks.awake, or a value that changes; what is only displayed is excepted."


def test_deadlines_stand_still_with_their_process() -> None:
    """Else a process that was paused for a minute gives up the answer that waits for it already."""
    found = [call for path in sorted(FLOOR.rglob("*.py")) for call in timers(path)]
    # The one that `clocks.timeout` is made of.
    assert found == ["clocks.py: asyncio.timeout(None)"], "Use models_app.clocks.timeout."


def test_the_exceptions_exist() -> None:
    assert ALLOWED.keys() <= found().keys()


@pytest.mark.parametrize(
    ("call", "is_wall"),
    [
        ("time()", True),
        ("time.time()", True),
        ("timezone.now()", True),
        ("datetime.now(UTC)", True),
        ("datetime.datetime.now(UTC)", True),
        ("Now()", True),
        ("loop.time()", False),
        ("asyncio.get_running_loop().time()", False),
        ("monotonic()", False),
        ("awake()", False),
    ],
)
def test_the_check_knows_the_wall_clock(call: str, is_wall: bool) -> None:
    parsed = ast.parse(call, mode="eval").body
    assert isinstance(parsed, ast.Call)
    assert _is_wall(parsed.func) == is_wall
