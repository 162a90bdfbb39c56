"""The processes that check grammars, with the real llguidance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from models_app.domain.errors import Unavailable
from models_app.engines.runner.grammar import lark
from models_app.engines.runner.grammar.channels import GrammarProgram
from models_app.engines.runner.grammar.compiling import GrammarCheck, Verdict

GOOD = 'start: "a"\n'
MALFORMED = {
    "wrong assignment": "start := x",
    "unknown rule": "start: x",
    "no start": 'other: "a"',
    "open group": 'start: ("a"',
    "open literal": 'start: "a',
    "open class": "start: /[a/",
    "empty": "",
}
# llguidance overflows its stack on the first, which ends the process, and multiplies for a minute on the second.
DEADLY = lark.value(
    {
        "$ref": "#/$defs/d0",
        "$defs": {"d2000": {}}
        | {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"type": "null"}]} for n in range(2000)},
    }
)
SLOW = lark.value({"type": "integer", "minimum": -123456789012, "maximum": 987654321098765, "multipleOf": 12345677})

Test = Callable[[GrammarCheck], Awaitable[None]]


def run(test: Test, model: Path) -> None:
    async def main() -> None:
        program = GrammarProgram(str(model))
        try:
            await test(GrammarCheck(program))
        finally:
            program.close()

    asyncio.run(main())


async def good(check: GrammarCheck, grammar: str = GOOD) -> None:
    assert (await check.verdict(grammar)).good


async def refused(check: GrammarCheck, grammar: str) -> None:
    verdict = await check.verdict(grammar)
    assert verdict.reason and not verdict.slow, grammar


@pytest.mark.llama
def test_it_takes_a_good_grammar(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await good(check)

    run(test, tiny_model)


@pytest.mark.llama
def test_it_refuses_malformed_grammars_and_goes_on(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for grammar in MALFORMED.values():
            await refused(check, grammar)
        await good(check)

    run(test, tiny_model)


@pytest.mark.llama
def test_it_survives_a_grammar_that_kills(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await good(check)
        assert (await check.verdict(DEADLY)).slow
        await good(check, 'start: "b"')

    run(test, tiny_model)


@pytest.mark.llama
def test_it_refuses_a_grammar_that_takes_long(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for _ in range(2):
            assert await check.verdict(SLOW) == Verdict(slow=True)
        await good(check)

    run(test, tiny_model)


@pytest.mark.llama
def test_one_process_checks_several_up_to_a_slow_one(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        wanted = [GOOD, MALFORMED["open class"], GOOD, SLOW, 'start: "b"']
        found = await check.verdicts(wanted)
        assert [verdict.good for verdict in found] == [True, False, True, False, False]
        assert [verdict.slow for verdict in found] == [False, False, False, True, True]
        # The one behind the slow one has no verdict of its own.
        await good(check, wanted[-1])

    run(test, tiny_model)


@pytest.mark.llama
def test_a_check_whose_client_leaves_does_not_disturb_the_next(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await good(check)
        leaving = asyncio.create_task(check.verdict(SLOW))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await refused(check, MALFORMED["no start"])
        await good(check, 'start: "c"')

    run(test, tiny_model)


@pytest.mark.llama
def test_the_program_starts_again_after_its_end(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await good(check)
        program = check._program._program
        assert program is not None
        program.kill()
        program.wait()
        await good(check, 'start: "b"')

    run(test, tiny_model)


@pytest.mark.llama
def test_a_known_grammar_needs_no_program(tiny_model: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        await good(check)
        check._program.close()
        await good(check)
        assert check._program._program is None

    run(test, tiny_model)


def test_a_check_that_cannot_start_is_no_verdict(tmp_path: Path) -> None:
    async def test(check: GrammarCheck) -> None:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await check.verdict(GOOD)

    run(test, tmp_path / "missing.gguf")
