"""Rendering in processes of its own: hostile templates end as one error each, and others are rendered meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any

import psutil
import pytest

from models_app import clocks
from models_app.clocks import AwakeClock
from models_app.domain.errors import InvalidRequest, LoadFailed, NoaError, Unavailable
from models_app.engines.runner.formats import rendering
from models_app.engines.runner.formats.rendering import SLOW, Limits, Renderer
from tests.fakes import hostile_templates
from tests.fakes.hostile_templates import HOSTILE, UNCOMPILABLE, WORD, armed
from tests.waiting import until

HELLO = [{"role": "user", "content": "Hello"}]
TRAP = [{"role": "user", "content": WORD}]
# Far above the limits: a rendering has two seconds of processor time, on a machine that does much else.
_DEADLINE = 60.0
# So that the whole table takes a minute: the limits are the kernel's, whatever their number.
_SHORT = Limits(wall=8.0, processor=0.4)


@asynccontextmanager
async def renderer(source: str, longest: Limits = SLOW) -> AsyncIterator[Renderer]:
    made = Renderer(source, bos="<s>", eos="</s>", longest=longest)
    try:
        async with asyncio.timeout(_DEADLINE):
            await made.open()
            yield made
    finally:
        await made.close()


def rendered(
    source: str, *conversations: list[dict[str, Any]], longest: Limits = SLOW, **more: Any
) -> list[str | NoaError]:
    async def work() -> list[str | NoaError]:
        answers: list[str | NoaError] = []
        async with renderer(source, longest) as made:
            for messages in conversations:
                try:
                    answers.append(await made.render(messages, **more))
                except NoaError as error:
                    answers.append(error)
        return answers

    return asyncio.run(work())


def test_it_renders_what_the_template_writes() -> None:
    source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ tools | tojson }}{{ flag }}"
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    (text,) = rendered(source, HELLO * 2, tools=[tool], options={"flag": True})
    assert text == '<s>HelloHello[{"type": "function", "function": {"name": "f", "parameters": {}}}]True'


@pytest.mark.parametrize("text", ["ä€😀", "\ud800", "\x00", "\u2028", "</s>", "a" * 3_000_000, ""])
def test_texts_arrive_as_they_were(text: str) -> None:
    assert rendered("{{ messages[0].content }}", [{"role": "user", "content": text}]) == [text]


def test_it_finds_out_whether_the_template_shows_tools() -> None:
    async def shows(source: str) -> bool:
        async with renderer(source) as made:
            return made.supports_tools

    assert asyncio.run(shows("{{ tools | tojson }}{{ messages[0].content }}"))
    assert not asyncio.run(shows("{{ messages[0].content }}"))
    assert not asyncio.run(shows("{% if tools %}{{ raise_exception('no tools') }}{% endif %}x"))


@pytest.mark.wide
@pytest.mark.parametrize("name", [*HOSTILE, *UNCOMPILABLE])
def test_a_hostile_template_fails_its_load(name: str) -> None:
    body = (HOSTILE | UNCOMPILABLE)[name]
    try:
        (answer,) = rendered(body, HELLO, longest=_SHORT)
    except LoadFailed as error:
        assert error.stage == "template"
        assert error.message.startswith("The model's chat template cannot be used: ")
        assert len(error.message) < 1000
    else:
        # What Python can compute after all, it computes within the limits. It is no conversation.
        assert isinstance(answer, InvalidRequest)
        assert "leaves out what the user writes" in answer.message
        assert name not in hostile_templates.SLOW


@pytest.mark.wide
@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_acts_on_a_word_fails_that_request_only(name: str) -> None:
    trapped, after = rendered(armed(HOSTILE[name]), TRAP, HELLO, longest=_SHORT)
    if isinstance(trapped, NoaError):
        assert isinstance(trapped, InvalidRequest)
        assert trapped.code == "template_error"
        assert len(trapped.message) < 1000
    else:
        assert name not in hostile_templates.SLOW
    assert after == "Hello"


def test_others_are_rendered_while_slow_conversations_wait() -> None:
    """All that the slow ones can hold is their own lane."""

    async def work() -> None:
        async with renderer(armed(HOSTILE["loops"])) as made:
            slow = [asyncio.create_task(attempt(made, number)) for number in range(12)]
            good = 0
            while not all(task.done() for task in slow):
                assert await made.render(HELLO) == "Hello"
                good += 1
            codes = [task.result() for task in slow]
            assert set(codes) == {"template_error", "template_busy"}
            # Between the first and the last of them: each takes two seconds, a good one far less than one.
            assert good > 2 * codes.count("template_error")

    async def attempt(made: Renderer, number: int) -> str:
        with pytest.raises((InvalidRequest, Unavailable)) as refused:
            await made.render([{"role": "system", "content": str(number)}, *TRAP])
        return refused.value.code

    asyncio.run(work())


def test_a_conversation_that_was_too_slow_is_not_rendered_again() -> None:
    async def work() -> None:
        async with renderer(armed(HOSTILE["loops"])) as made:
            with pytest.raises(InvalidRequest, match="more than 2 s"):
                await made.render(TRAP)
            before = used(psutil.Process())
            with pytest.raises(InvalidRequest, match="more than 2 s"):
                await made.render(TRAP)
            assert used(psutil.Process()) - before < 0.2

    asyncio.run(work())


def used(process: psutil.Process) -> float:
    """Seconds of processor time of the process and its children, dead ones included."""
    everyone = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:4]) for one in everyone)


def killed(choose: Callable[[list[psutil.Process]], list[psutil.Process]]) -> None:
    """Kills processes of an idle renderer; the next conversation is rendered all the same."""

    async def work() -> None:
        async with renderer("{{ messages[0].content }}") as made:
            await made.render(HELLO)
            victims = choose(psutil.Process().children(recursive=True))
            assert victims
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
            until(lambda: not any(alive(victim) for victim in victims), "they are gone")
            assert await made.render(HELLO) == "Hello"

    asyncio.run(work())


def all_ended(processes: set[psutil.Process]) -> bool:
    return not any(alive(one) for one in processes)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_rendering_that_a_standstill_ended_is_repeated(is_fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm of its process goes on while the machine stands still."""
    jumped = [0.0]
    clock = AwakeClock(lambda: monotonic() + jumped[0])

    async def work() -> None:
        async with renderer(armed(HOSTILE["loops"]), Limits(wall=600.0, processor=600.0)) as made:
            monkeypatch.setattr(rendering, "FAST", Limits(wall=600.0, processor=600.0))
            if not is_fresh:
                await made.render(HELLO)
            monkeypatch.setattr(clocks, "_clock", clock)
            known = set(psutil.Process().children(recursive=True))
            task = asyncio.create_task(made.render(TRAP))
            await asyncio.sleep(0)
            (victim,) = [one for one in known if one.ppid() != os.getpid()]
            await _computes(victim)
            jumped[0] = 75.0
            os.kill(victim.pid, signal.SIGALRM)
            # It is computed again, by another process.
            while not (begun := set(psutil.Process().children(recursive=True)) - known):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            until(partial(all_ended, begun), "its process has ended")

    asyncio.run(work())


async def _computes(process: psutil.Process) -> None:
    before = process.cpu_times().user
    while process.cpu_times().user < before + 0.1:
        await asyncio.sleep(0)


def test_a_process_that_was_killed_is_replaced() -> None:
    killed(lambda found: [one for one in found if one.ppid() != os.getpid()])


def test_a_program_that_was_killed_is_started_again() -> None:
    killed(lambda found: found)


def test_a_request_that_is_cancelled_leaves_no_answer_for_the_next(tmp_path: Any) -> None:
    async def work() -> None:
        async with renderer(armed("{% for a in range(9000) %}{{ a }}{% endfor %}")) as made:
            for delay in range(20):
                task = asyncio.create_task(made.render(TRAP))
                for _ in range(delay):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await made.render(HELLO) == "Hello"

    asyncio.run(work())


@pytest.mark.parametrize("name", ["strip", "loops", "equality"])
def test_a_client_that_leaves_takes_its_rendering_along(name: str) -> None:
    """Else each of many that leave would leave a process that computes for seconds."""

    async def work() -> None:
        # So long that a process which stays is found.
        async with renderer(armed(HOSTILE[name]), Limits(wall=600.0, processor=600.0)) as made:
            await made.render(HELLO)
            for _ in range(10):
                known = set(psutil.Process().children(recursive=True))
                task = asyncio.create_task(made.render(TRAP))
                while not made._waiting:
                    await asyncio.sleep(0)
                # Now in the slow lane, where its process starts and computes.
                while not (begun := set(psutil.Process().children(recursive=True)) - known):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                until(partial(all_ended, begun), "its process has ended")

    asyncio.run(work())


def test_nothing_is_left_after_the_end() -> None:
    async def work() -> list[psutil.Process]:
        async with renderer(armed(HOSTILE["strip"])) as made:
            with pytest.raises(InvalidRequest):
                await made.render(TRAP)
            return psutil.Process().children(recursive=True)

    left = asyncio.run(work())
    assert left
    until(lambda: not any(alive(one) for one in left), "no process is left", _DEADLINE)
