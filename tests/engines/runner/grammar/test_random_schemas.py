"""A strict schema that is taken holds for every text that its grammar allows."""

from __future__ import annotations

import json
import re
from collections import Counter

import jsonschema
import pytest

from models_app.engines.runner.grammar import lark, schema
from tests.engines.runner.conftest import Judge
from tests.engines.runner.grammar.random_schemas import Maker, Schema, Writer, judge

pytestmark = [pytest.mark.llama, pytest.mark.wide]

SCHEMAS = 5000
PARTS = 5


def is_valid(made: Schema) -> bool:
    """Whether the schema has a meaning at all."""
    try:
        jsonschema.Draft202012Validator.check_schema(made)
        for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(made)):
            re.compile(json.loads(pattern))
    except (jsonschema.SchemaError, re.error):
        return False
    return True


def outcome(enforcing: Judge, made: Schema, seed: int) -> str:
    """What became of one schema and of one text that its grammar allows."""
    if schema.inexact(made):
        return "refused"
    matcher = enforcing.enforcer.compile(lark.value(schema.prepared(made, strict=True)))
    if matcher.is_error():
        return "refused"
    text = Writer(enforcing.enforcer, enforcing.vocabulary, seed).write(matcher)
    if text is None:
        return "unfinished"
    problem = next(judge(made).iter_errors(json.loads(text)), None) if is_valid(made) else None
    assert problem is None, f"{text!r} breaks {made}: {problem.message}"
    return "kept"


@pytest.mark.parametrize("odd", [False, True], ids=["enforceable", "odd"])
@pytest.mark.parametrize("part", range(PARTS))
def test_no_answer_breaks_a_strict_schema(enforcing: Judge, part: int, odd: bool) -> None:
    count = SCHEMAS // PARTS // 2
    first = 1_000_000 * odd + part * count
    found = Counter(outcome(enforcing, Maker(seed, odd=odd).schema(), seed) for seed in range(first, first + count))
    # Refusals are unsatisfiable combinations of random parts; texts without end are cut.
    assert found["kept"] > count * (0.5 if odd else 0.8), found
