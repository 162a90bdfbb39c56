"""The processes that check grammars, with the real llama.cpp."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from models_app.domain.errors import InvalidRequest, Unavailable
from models_app.engines.runner.grammar.channels import GrammarProgram, SchemaTooSlow
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

# Three counted repetitions inside each other: tens of thousands of open alternatives.
SLOW = "root ::= ((([^0-9]{1,30}){1,30}){1,30})\n"

Test = Callable[[GrammarCheck], Awaitable[None]]


def run(test: Test, model: Path) -> None:
    async def main() -> None:
        program = GrammarProgram(str(model))
        try:
            await test(GrammarCheck(program))
        finally:
            program.close()

    asyncio.run(main())


async def refused(check: GrammarCheck, grammar: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await check.require(grammar, param="response_format")
    assert refusal.value.code == "invalid_schema"


@pytest.mark.llama
def test_it_takes_a_good_grammar(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="response_format")

    run(test, tiny_model)


@pytest.mark.llama
def test_it_refuses_malformed_grammars_and_goes_on(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for grammar in MALFORMED.values():
            await refused(check, grammar)
        await check.require(GOOD, param="response_format")

    run(test, tiny_model)


@pytest.mark.llama
def test_it_survives_a_grammar_that_kills(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="response_format")
        await refused(check, DEADLY)
        await refused(check, DEADLY)
        await check.require('root ::= "b"', param="response_format")

    run(test, tiny_model)


@pytest.mark.llama
def test_it_refuses_a_grammar_whose_states_are_slow(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for _ in range(2):
            with pytest.raises(SchemaTooSlow) as refusal:
                await check.require(SLOW, param="tools")
            assert (refusal.value.http_status, refusal.value.code) == (422, "schema_too_slow")
            assert refusal.value.param == "tools"
        await check.require(GOOD, param="response_format")

    run(test, tiny_model)


@pytest.mark.llama
def test_a_check_whose_client_leaves_does_not_disturb_the_next(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="p")
        leaving = asyncio.create_task(check.require(SLOW, param="p"))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await refused(check, MALFORMED["no root"])
        await check.require('root ::= "c"', param="p")

    run(test, tiny_model)


@pytest.mark.llama
def test_the_program_starts_again_after_its_end(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="p")
        program = check._program._program
        assert program is not None
        program.kill()
        program.wait()
        await check.require('root ::= "b"', param="p")

    run(test, tiny_model)


@pytest.mark.llama
def test_a_known_grammar_needs_no_program(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await check.require(GOOD, param="p")
        check._program.close()
        await check.require(GOOD, param="p")
        assert check._program._program is None

    run(test, tiny_model)


def test_a_check_that_cannot_start_is_no_verdict(tmp_path: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await check.require(GOOD, param="p")

    run(test, tmp_path / "missing.gguf")
