"""The findings of `doctor` and their remedies. Pure; the checks are in `models_app.services.reporting.doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from enum import StrEnum

GIB = 1024**3
# A model, a backup or a day of access log needs more than the first; at the second, a database stops writing.
LITTLE_SPACE = 2 * GIB
NO_SPACE = GIB // 10
# A clock that is further off makes keys, leases and budget periods noticeably wrong.
CLOCK_SECONDS = 5.0
OLDEST_POSTGRES = 140_000

# Instruction sets: llama.cpp's names for those that it was compiled for, and the kernel's names.
INSTRUCTIONS = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "AVX512": "avx512f",
    "AVX512_VNNI": "avx512_vnni",
}
# Without them a CPU computes several times slower; the others matter less.
_IMPORTANT = ("AVX", "AVX2", "FMA", "AVX512")


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `todo` is empty if no action is needed."""

    check: str
    level: Level
    what: str
    todo: str = ""

    def represent(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def unknown_variables(variables: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """Variables with NOA's prefix that are not settings, each with the most similar setting."""
    names = sorted(known)
    found = []
    for name in sorted(variables):
        plain = name.removesuffix("_FILE")
        if not name.startswith("NOA_") or name in names or plain in names:
            continue
        near = get_close_matches(name, names)
        todo = f"Use {near[0]}, if that is meant." if near else "Remove it."
        found.append(Finding("settings", Level.WARNING, f"{name} is set, but is not a setting.", todo))
    return found


def engine_build(compiled: frozenset[str], able: frozenset[str], *, cuda: bool, gpus: int) -> list[Finding]:
    """Compares the instruction sets that llama.cpp uses (`compiled`) with those of the processor (`able`)."""
    found = []
    missing = [name for name in compiled & INSTRUCTIONS.keys() if INSTRUCTIONS[name] not in able]
    if able and missing:
        found.append(
            Finding(
                "engine",
                Level.PROBLEM,
                f"llama.cpp was compiled for {', '.join(sorted(missing))}, which this processor lacks: models crash"
                " with an illegal instruction.",
                "Compile it on this machine: remove the wheel cache and run 'make setup' again.",
            )
        )
    unused = [name for name in _IMPORTANT if INSTRUCTIONS[name] in able and name not in compiled]
    if unused:
        found.append(
            Finding(
                "engine",
                Level.WARNING,
                f"This processor has {', '.join(unused)}, which llama.cpp was not compiled for: models are slower.",
                "Compile it on this machine: run 'make setup' without a wheel from elsewhere.",
            )
        )
    if gpus and not cuda:
        found.append(
            Finding(
                "engine",
                Level.WARNING,
                f"There are {gpus} NVIDIA GPUs, and llama.cpp was compiled without CUDA: they are not used.",
                "Compile it with CMAKE_ARGS=-DGGML_CUDA=on.",
            )
        )
    if cuda and not gpus:
        found.append(
            Finding(
                "engine",
                Level.WARNING,
                "llama.cpp was compiled for CUDA, and no GPU answers.",
                "Run 'nvidia-smi': the driver can be missing, or the container has no access to the GPU.",
            )
        )
    uses = ", ".join(sorted(compiled & INSTRUCTIONS.keys())) or "no vector instructions"
    return found or [Finding("engine", Level.OK, f"llama.cpp uses {uses}{', CUDA' if cuda else ''}.")]


def disk(path: str, free: int) -> Finding:
    text = f"{free / GIB:.1f} GiB are free in {path}."
    if free >= LITTLE_SPACE:
        return Finding("disk", Level.OK, text)
    level = Level.PROBLEM if free < NO_SPACE else Level.WARNING
    return Finding("disk", level, text, "Free space, or move NOA_DATA_DIR to a larger disk.")


def clock(offset: float) -> Finding:
    """Checks the `offset` in seconds: the database's clock minus ours."""
    if abs(offset) < CLOCK_SECONDS:
        return Finding("clock", Level.OK, f"The database's clock and ours differ by {offset:.1f} s.")
    return Finding(
        "clock",
        Level.PROBLEM,
        f"The database's clock and ours differ by {offset:.0f} s.",
        "Synchronize both machines by NTP: leases, keys and budgets depend on the time.",
    )


def postgres(version: int) -> Finding:
    """Checks the server's version number: 150004 is 15.4."""
    text = f"PostgreSQL {version // 10_000} answers."
    if version >= OLDEST_POSTGRES:
        return Finding("database", Level.OK, text)
    return Finding("database", Level.PROBLEM, text, "NOA needs PostgreSQL 14 or newer: upgrade it.")


def worst(findings: Iterable[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.PROBLEM, Level.WARNING) if level in levels), Level.OK)
