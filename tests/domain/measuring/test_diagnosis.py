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
    assert finding == Finding("settings", Level.WARNING, f"{given} is set, but is not a setting.", todo)


@pytest.mark.parametrize("given", ["NOA_PORT", "NOA_PORT_FILE", "PATH", "DATABASE_URL"])
def test_known_and_foreign_variables_are_passed_over(given: str) -> None:
    assert diagnosis.unknown_variables([given], KNOWN) == []


def test_each_unknown_variable_is_a_finding_in_order() -> None:
    given = ["NOA_XYZZY_QUUX", "PATH", "NOA_PORT", "NOA_MODEL_DIR", "NOA_MODELS_DIR_FILE"]
    found = diagnosis.unknown_variables(given, KNOWN)
    assert [finding.what.split()[0] for finding in found] == ["NOA_MODEL_DIR", "NOA_XYZZY_QUUX"]


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
    ("compiled", "able", "cuda", "gpus", "expected"),
    [
        (set(), set(), False, 0, [("ok", "llama.cpp uses no vector instructions.", "")]),
        ({"SSE3"}, set(), False, 0, [("ok", "llama.cpp uses no vector instructions.", "")]),
        ({"FMA", "AVX", "SSE3"}, {"avx", "fma"}, False, 0, [("ok", "llama.cpp uses AVX, FMA.", "")]),
        ({"AVX"}, {"avx"}, True, 1, [("ok", "llama.cpp uses AVX, CUDA.", "")]),
        (
            {"AVX2", "AVX", "AVX512_VNNI"},
            {"avx", "f16c"},
            False,
            0,
            [
                (
                    "problem",
                    "llama.cpp was compiled for AVX2, AVX512_VNNI, which this processor lacks: models crash with an"
                    " illegal instruction.",
                    "Compile it on this machine: remove the wheel cache and run 'make setup' again.",
                )
            ],
        ),
        (
            {"AVX"},
            {"avx", "avx2", "fma", "avx512_vnni"},
            True,
            0,
            [
                (
                    "warning",
                    "This processor has AVX2, FMA, which llama.cpp was not compiled for: models are slower.",
                    "Compile it on this machine: run 'make setup' without a wheel from elsewhere.",
                ),
                (
                    "warning",
                    "llama.cpp was compiled for CUDA, and no GPU answers.",
                    "Run 'nvidia-smi': the driver can be missing, or the container has no access to the GPU.",
                ),
            ],
        ),
        (
            {"AVX2"},
            {"avx"},
            False,
            2,
            [
                (
                    "problem",
                    "llama.cpp was compiled for AVX2, which this processor lacks: models crash with an illegal"
                    " instruction.",
                    "Compile it on this machine: remove the wheel cache and run 'make setup' again.",
                ),
                (
                    "warning",
                    "This processor has AVX, which llama.cpp was not compiled for: models are slower.",
                    "Compile it on this machine: run 'make setup' without a wheel from elsewhere.",
                ),
                (
                    "warning",
                    "There are 2 NVIDIA GPUs, and llama.cpp was compiled without CUDA: they are not used.",
                    "Compile it with CMAKE_ARGS=-DGGML_CUDA=on.",
                ),
            ],
        ),
    ],
)
def test_each_fault_of_a_build_is_a_finding(
    compiled: set[str], able: set[str], cuda: bool, gpus: int, expected: list[tuple[str, str, str]]
) -> None:
    found = diagnosis.engine_build(frozenset(compiled), frozenset(able), cuda=cuda, gpus=gpus)
    assert [one.represent() for one in found] == [
        {"check": "engine", "level": level, "what": what, "todo": todo} for level, what, todo in expected
    ]


TENTH = diagnosis.GIB // 10


@pytest.mark.parametrize(
    ("free", "level", "shown"),
    [
        (10 * diagnosis.GIB, Level.OK, "10.0"),
        (2 * diagnosis.GIB, Level.OK, "2.0"),
        (2 * diagnosis.GIB - 1, Level.WARNING, "2.0"),
        (TENTH, Level.WARNING, "0.1"),
        (TENTH - 1, Level.PROBLEM, "0.1"),
        (0, Level.PROBLEM, "0.0"),
    ],
)
def test_little_space_is_a_warning_and_none_a_problem(free: int, level: Level, shown: str) -> None:
    todo = "" if level is Level.OK else "Free space, or move NOA_DATA_DIR to a larger disk."
    assert diagnosis.disk("/data", free) == Finding("disk", level, f"{shown} GiB are free in /data.", todo)


@pytest.mark.parametrize(
    ("offset", "level", "shown"),
    [(-0.26, Level.OK, "-0.3"), (4.99, Level.OK, "5.0"), (5, Level.PROBLEM, "5"), (-7.4, Level.PROBLEM, "-7")],
)
def test_clocks_that_differ_by_five_seconds_are_a_problem(offset: float, level: Level, shown: str) -> None:
    advice = "Synchronize both machines by NTP: leases, keys and budgets depend on the time."
    todo = "" if level is Level.OK else advice
    what = f"The database's clock and ours differ by {shown} s."
    assert diagnosis.clock(offset) == Finding("clock", level, what, todo)


@pytest.mark.parametrize(
    ("version", "level", "shown"),
    [(140_000, Level.OK, 14), (150_004, Level.OK, 15), (139_999, Level.PROBLEM, 13), (90_624, Level.PROBLEM, 9)],
)
def test_an_old_postgres_is_a_problem(version: int, level: Level, shown: int) -> None:
    todo = "" if level is Level.OK else "NOA needs PostgreSQL 14 or newer: upgrade it."
    assert diagnosis.postgres(version) == Finding("database", level, f"PostgreSQL {shown} answers.", todo)


def test_the_worst_counts() -> None:
    assert diagnosis.worst([]) == Level.OK
    found = [Finding("a", level, "") for level in (Level.OK, Level.PROBLEM, Level.WARNING)]
    assert diagnosis.worst(found) == Level.PROBLEM
    assert diagnosis.worst([found[0], found[2]]) == Level.WARNING
    assert diagnosis.worst([found[0]]) == Level.OK
