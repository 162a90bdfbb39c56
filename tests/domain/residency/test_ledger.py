"""The sentences of the ledger, and the causes of jobs."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest

from models_app.domain.residency.ledger import (
    Figures,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
    cause_of,
    clause,
    sentence,
)

MIB, GIB = 2**20, 2**30
POLICY = Origin(LedgerCause.POLICY, "policy")
OPERATOR = Origin(LedgerCause.OPERATOR, "user:ann")
REQUEST = Origin(LedgerCause.REQUEST, "gateway", "req-1")


@pytest.mark.parametrize(
    ("actor", "cause"),
    [
        ("key:ci", LedgerCause.KEY),
        ("user:ann", LedgerCause.OPERATOR),
        ("user:key:a", LedgerCause.OPERATOR),
        ("restore", LedgerCause.RESTORE),
        ("recovery", LedgerCause.RECOVERY),
        ("gateway", LedgerCause.REQUEST),
        ("policy", LedgerCause.POLICY),
        ("keys", LedgerCause.POLICY),
        ("", LedgerCause.POLICY),
    ],
)
def test_an_actor_implies_a_cause(actor: str, cause: LedgerCause) -> None:
    assert cause_of(actor) == cause


def fact(kind: LedgerKind, origin: Origin = POLICY, **fields: Any) -> LifecycleFact:
    return replace(LifecycleFact(kind, "m:a", LedgerOutcome.DONE, origin), **fields)


TIMED = Figures(measured_seconds=12.34)
WEIGHED = replace(TIMED, measured_bytes=3 * GIB // 2)
PREDICTED = replace(WEIGHED, predicted_bytes=700 * MIB)

SENTENCES = [
    (fact(LedgerKind.LOAD), "m:a was loaded."),
    (fact(LedgerKind.UNLOAD), "m:a was unloaded."),
    (fact(LedgerKind.EVICTION), "m:a was unloaded."),
    (fact(LedgerKind.SWITCH), "m:a was switched to."),
    (fact(LedgerKind.RECOVERY), "m:a was recovered."),
    (fact(LedgerKind.REFUSAL), "m:a was not loaded."),
    (fact(LedgerKind.UNLOAD, reason="as it was idle."), "m:a was unloaded, as it was idle."),
    # Origins.
    (fact(LedgerKind.LOAD, OPERATOR), "m:a was loaded, because ann requested it."),
    (
        fact(LedgerKind.LOAD, Origin(LedgerCause.KEY, "key:ci")),
        "m:a was loaded, because the API key 'ci' requested it.",
    ),
    (
        fact(LedgerKind.LOAD, Origin(LedgerCause.KEY, "key:a:b")),
        "m:a was loaded, because the API key 'a:b' requested it.",
    ),
    (fact(LedgerKind.LOAD, Origin(LedgerCause.OPERATOR, "cli")), "m:a was loaded, because cli requested it."),
    (fact(LedgerKind.LOAD, Origin(LedgerCause.OPERATOR)), "m:a was loaded, because an unknown actor requested it."),
    (
        fact(LedgerKind.LOAD, REQUEST),
        "m:a was loaded, because a request through the gateway needed it (req-1).",
    ),
    (
        fact(LedgerKind.LOAD, Origin(LedgerCause.REQUEST, "gateway")),
        "m:a was loaded, because a request through the gateway needed it.",
    ),
    (fact(LedgerKind.RECOVERY, Origin(LedgerCause.RECOVERY)), "m:a was recovered, because it was recovered."),
    (
        fact(LedgerKind.LOAD, Origin(LedgerCause.RESTORE, "user:ann")),
        "m:a was loaded, because the desired state was restored.",
    ),
    # Measurements.
    (fact(LedgerKind.LOAD, figures=TIMED), "m:a was loaded: it took 12.3 s."),
    (fact(LedgerKind.LOAD, figures=WEIGHED), "m:a was loaded: it took 12.3 s and holds 1.5 GiB."),
    (
        fact(LedgerKind.LOAD, figures=PREDICTED),
        "m:a was loaded: it took 12.3 s and holds 1.5 GiB (700 MiB were predicted).",
    ),
    (fact(LedgerKind.LOAD, figures=replace(PREDICTED, measured_bytes=None)), "m:a was loaded: it took 12.3 s."),
    (fact(LedgerKind.LOAD, figures=replace(PREDICTED, measured_seconds=None)), "m:a was loaded."),
    (fact(LedgerKind.RECOVERY, figures=TIMED), "m:a was recovered: it took 12.3 s."),
    (fact(LedgerKind.UNLOAD, figures=TIMED), "m:a was unloaded."),
    (fact(LedgerKind.LOAD, data={"needed_bytes": GIB}), "m:a was loaded."),
    # Sizes and durations change their unit.
    (
        fact(LedgerKind.EVICTION, data={"needed_bytes": GIB}, reason="to make room for m:b"),
        "m:a was unloaded to make room for m:b, which needs 1.0 GiB.",
    ),
    *(
        (
            fact(
                LedgerKind.EVICTION, data={"needed_bytes": GIB - 1, "idle_seconds": idle}, reason="to make room for m:b"
            ),
            f"m:a was unloaded to make room for m:b, which needs 1024 MiB; it had not been used for {words}.",
        )
        for idle, words in [
            (0, "0 s"),
            (119.4, "119 s"),
            (120, "2 min"),
            (7199, "120 min"),
            (7200, "2 h"),
            (90000, "25 h"),
            (7_200_000, "2000 h"),
        ]
    ),
    # Failures.
    (
        fact(LedgerKind.LOAD, OPERATOR, outcome=LedgerOutcome.FAILED, reason="The runner died."),
        "m:a should have been loaded, because ann requested it; that failed: the runner died.",
    ),
    (
        fact(LedgerKind.LOAD, outcome=LedgerOutcome.CANCELLED),
        "m:a should have been loaded; that was cancelled.",
    ),
    (
        fact(
            LedgerKind.REFUSAL, REQUEST, outcome=LedgerOutcome.REFUSED, reason="this machine does not have the memory"
        ),
        "m:a was not loaded, because a request through the gateway needed it (req-1); there was no memory for it: "
        "this machine does not have the memory.",
    ),
    (
        fact(LedgerKind.SWITCH, outcome=LedgerOutcome.FAILED, reason="no X"),
        "m:a should have become the target of a route; that failed: no X.",
    ),
    (
        fact(LedgerKind.RECOVERY, outcome=LedgerOutcome.FAILED, reason="x"),
        "m:a should have been recovered; that failed: x.",
    ),
]


@pytest.mark.parametrize(("given", "expected"), SENTENCES, ids=[expected for _, expected in SENTENCES])
def test_a_fact_is_one_sentence(given: LifecycleFact, expected: str) -> None:
    assert sentence(given) == expected


REASONS = (
    "",
    "as it was idle",
    "as it was idle.",
    "Its runner was killed by SIGSEGV.",
    "The file ends inside the field 'a.b'. Convert the model again.",
    "NOA cannot reach it.",
    "GGUF version 9 is not supported.",
    "Anthropic answered 529.",
    "Internal error. The server log has the details.",
    "The runner died: exit code 3.",
    "It was killed. Its last lines:\nError: no memory.\nTraceback.",
    "'m:b' needs 1.5 GiB.",
    "A copy of llama.cpp:x serves…",
    "No answer within 2.0 s!",
)
ORIGINS = (POLICY, OPERATOR, REQUEST, Origin(LedgerCause.RECOVERY), Origin(LedgerCause.RESTORE))


@pytest.mark.parametrize("reason", REASONS)
def test_every_fact_is_one_sentence_whatever_its_reason(reason: str) -> None:
    for kind, outcome, origin, figures in itertools.product(LedgerKind, LedgerOutcome, ORIGINS, (TIMED, Figures())):
        text = sentence(LifecycleFact(kind, "m:a", outcome, origin, reason=reason, figures=figures))
        assert text.endswith(".") and not re.search(r"[.!?,;:]\s*\.$", text), text
        assert not re.search(r"\w\w[.!?]\s", text), f"two sentences: {text}"
        assert not re.search(r"([.,;:])\s*[.,;:]", text), f"double punctuation: {text}"
        assert not re.search(r"[,;:] (The|Its|It|This|A|An|No|Internal|Convert)\b", text), f"a capital inside: {text}"
        assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The file is cut. Put it there again.", "the file is cut; put it there again"),
        ("NOA is full.", "NOA is full"),
        ("Redis is away.", "Redis is away"),
        ("llama.cpp cannot read v1.5.", "llama.cpp cannot read v1.5"),
        ("A model, e.g. m:b, is larger.", "a model, e.g. m:b, is larger"),
    ],
)
def test_sentences_become_a_clause(text: str, expected: str) -> None:
    assert clause(text) == expected
