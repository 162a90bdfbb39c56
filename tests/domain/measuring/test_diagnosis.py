"""The findings of doctor."""

from __future__ import annotations

import pytest

from models_app.domain.measuring import diagnosis
from models_app.domain.measuring.diagnosis import Finding, Level

KNOWN = ["NOA_MODELS_DIR", "NOA_PORT", "DATABASE_URL"]


@pytest.mark.parametrize(
    ("given", "todo"),
    [
        ("NOA_MODEL_DIR", "Use NOA_MODELS_DIR, if that is meant."),
        ("NOA_POTR", "Use NOA_PORT, if that is meant."),
        ("NOA_XYZZY_QUUX", "Remove it."),
    ],
)
def test_a_variable_that_means_nothing_is_named_with_the_nearest(given: str, todo: str) -> None:
    (finding,) = diagnosis.unknown_variables([given], KNOWN)
    assert given in finding.what
    assert finding.todo == todo


@pytest.mark.parametrize("given", ["NOA_PORT", "NOA_PORT_FILE", "PATH", "DATABASE_URL"])
def test_known_and_foreign_variables_are_passed_over(given: str) -> None:
    assert diagnosis.unknown_variables([given], KNOWN) == []


MODERN = frozenset({"avx", "avx2", "fma", "f16c", "avx512f"})


@pytest.mark.parametrize(
    ("compiled", "able", "cuda", "gpus", "levels"),
    [
        ({"AVX", "AVX2", "FMA", "AVX512"}, MODERN, False, 0, [Level.OK]),
        ({"AVX", "AVX2", "FMA", "AVX512"}, frozenset({"avx"}), False, 0, [Level.PROBLEM]),
        ({"SSE3"}, MODERN, False, 0, [Level.WARNING]),
        ({"AVX"}, frozenset(), False, 0, [Level.OK]),
        ({"AVX"}, frozenset({"avx"}), False, 2, [Level.WARNING]),
        ({"AVX"}, frozenset({"avx"}), True, 0, [Level.WARNING]),
        ({"AVX"}, frozenset({"avx"}), True, 1, [Level.OK]),
    ],
)
def test_a_build_is_held_against_the_processor(
    compiled: set[str], able: frozenset[str], cuda: bool, gpus: int, levels: list[Level]
) -> None:
    found = diagnosis.engine_build(frozenset(compiled), able, cuda=cuda, gpus=gpus)
    assert [one.level for one in found] == levels
    assert all(one.todo for one in found if one.level is not Level.OK)


@pytest.mark.parametrize(
    ("free", "level"),
    [(10 * diagnosis.GIB, Level.OK), (diagnosis.GIB, Level.WARNING), (0, Level.PROBLEM)],
)
def test_little_space_is_told(free: int, level: Level) -> None:
    assert diagnosis.disk("/data", free).level == level


@pytest.mark.parametrize(("offset", "level"), [(-0.3, Level.OK), (-7, Level.PROBLEM)])
def test_a_clock_that_is_off_is_told(offset: float, level: Level) -> None:
    assert diagnosis.clock(offset).level == level


@pytest.mark.parametrize(("version", "level"), [(140_000, Level.OK), (130_014, Level.PROBLEM)])
def test_an_old_postgres_is_told(version: int, level: Level) -> None:
    assert diagnosis.postgres(version).level == level


def test_the_worst_counts() -> None:
    assert diagnosis.worst([]) == Level.OK
    found = [Finding("a", level, "") for level in (Level.OK, Level.PROBLEM, Level.WARNING)]
    assert diagnosis.worst(found) == Level.PROBLEM
