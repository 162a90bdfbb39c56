"""The child process that compiles grammars, with the real llama.cpp."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from models_app.domain.errors import InvalidRequest, Unavailable
from models_app.engines.runner.grammar.compiling import GrammarCheck

GOOD = 'root ::= "a"\n'
MALFORMED = {
    "wrong assignment": "root := x",
    "unknown rule": "root ::= x",
    "no root": 'other ::= "a"',
    "open group": 'root ::= ("a"',
    "open literal": 'root ::= "a',
    "open class": "root ::= [a",
    "left recursion": 'root ::= root "a" | "b"',
    "huge repetition": 'root ::= "a"{1000000}',
}
# llama.cpp's parser overflows its stack on this, which crashes the process.
DEADLY = "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000

Test = Callable[[GrammarCheck], Awaitable[None]]


def run(test: Test, check_command: list[str] | None = None) -> None:
    async def main() -> None:
        check = GrammarCheck(check_command) if check_command else GrammarCheck()
        try:
            await test(check)
        finally:
            await check.close()

    asyncio.run(main())


async def refused(check: GrammarCheck, grammar: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await check.require(grammar, param="response_format")
    assert refusal.value.code == "invalid_schema"


@pytest.mark.llama
def test_it_takes_a_good_grammar() -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="response_format")

    run(test)


@pytest.mark.llama
def test_it_refuses_malformed_grammars_and_goes_on() -> None:
    async def test(check: GrammarCheck) -> None:
        for grammar in MALFORMED.values():
            await refused(check, grammar)
        await check.require(GOOD, param="response_format")

    run(test)


@pytest.mark.llama
def test_it_survives_a_grammar_that_kills() -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="response_format")
        await refused(check, DEADLY)
        await refused(check, DEADLY)
        await check.require('root ::= "b"', param="response_format")

    run(test)


def test_a_question_whose_asker_leaves_does_not_shift_the_answers() -> None:
    # Answers with the request's last byte, and not at all when it is `h`.
    program = (
        "import sys\nsys.stdout.buffer.write(b'1'); sys.stdout.buffer.flush()\n"
        "while h := sys.stdin.buffer.read(4):\n"
        "    text = sys.stdin.buffer.read(int.from_bytes(h, 'big'))\n"
        "    if text[-1:] != b'h': sys.stdout.buffer.write(text[-1:]); sys.stdout.buffer.flush()\n"
    )

    async def test(check: GrammarCheck) -> None:
        await check.require("1", param="p")
        asking = asyncio.create_task(check.require("hush", param="p"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await refused(check, "0")
        await check.require("another 1", param="p")

    run(test, [sys.executable, "-c", program])


def test_it_asks_about_the_same_grammar_once() -> None:
    # Answers one request and exits: a second one would fail.
    program = "import sys\nsys.stdout.buffer.write(b'11'); sys.stdout.buffer.flush(); sys.stdin.read(1)"

    async def test(check: GrammarCheck) -> None:
        for _ in range(3):
            await check.require(GOOD, param="p")

    run(test, [sys.executable, "-c", program])


def test_a_check_that_cannot_start_is_no_verdict() -> None:
    async def test(check: GrammarCheck) -> None:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await check.require(GOOD, param="p")

    run(test, [sys.executable, "-c", "raise SystemExit(1)"])
