"""`.ci/words` finds banned phrases in text for people, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import ROOT

PHRASE = "nobody"


def findings(path: Path, text: str) -> list[str]:
    """The program's output for a file with this text: `line: "phrase"` for each finding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    program = [sys.executable, str(ROOT / ".ci" / "words"), str(path)]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = ended.stdout.splitlines()
    assert ended.returncode == bool(lines), ended.stderr
    return [":".join(line.removeprefix(f"{path}:").split(":")[:2]) for line in lines]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("comment.py", f"x = 1  # {PHRASE} reads it\n", 1),
        ("docstring.py", f'def f():\n    """One.\n\n    Two, {PHRASE}."""\n', 4),
        ("message.py", f'\nraise ValueError(f"{{x}} is what {PHRASE} sent")\n', 2),
        ("log.py", f'import logging\nlogging.info("%s: {PHRASE} " "waits", 1)\n', 2),
        ("page.md", f"# Title\n\nOf a model {PHRASE} has loaded.\n", 3),
        ("page.html", f"<p>\n  {PHRASE.title()} has loaded it.\n</p>\n", 2),
        ("page.js", f"let x = 1;\n// {PHRASE} reads it\n", 2),
        ("page.css", f"p {{ /* {PHRASE} reads it */ }}\n", 1),
        ("tests/docstring.py", f'"""For {PHRASE}."""\n', 1),
    ],
)
def test_a_phrase_is_found_where_people_read_it(tmp_path: Path, name: str, text: str, line: int) -> None:
    assert [found.lower() for found in findings(tmp_path / name, text)] == [f'{line}: "{PHRASE}"']


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("identifier.py", f"def {PHRASE}(): ...\n\n\n{PHRASE}()\n"),
        ("word.py", f'x = {{"{PHRASE}": 1}}\n'),
        ("quoted.py", f'"""The state `{PHRASE}`."""\n'),
        ("fence.md", f"```sh\nnoa load {PHRASE}\n```\n"),
        ("quoted.md", f"The state `{PHRASE}`, and [a link]({PHRASE}.md).\n"),
        ("code.html", f'<p class="{PHRASE}">{{{{ {PHRASE} }}}}</p>\n'),
        ("code.js", f"let {PHRASE} = 1;\n"),
        ("code.css", f".{PHRASE} {{ }}\n"),
        ("tests/data.py", f'QUESTION = "Is {PHRASE} there?"\n'),
        ("models_app/demo/talk.py", f'QUESTION = "Is {PHRASE} there?"\n'),
    ],
)
def test_code_and_quoted_english_are_left_alone(tmp_path: Path, name: str, text: str) -> None:
    assert findings(tmp_path / name, text) == []


def test_a_phrase_is_found_across_the_lines_of_a_comment(tmp_path: Path) -> None:
    text = "x = 1\n# The worker is\n# told what changed.\n"
    assert findings(tmp_path / "comment.py", text) == ['2: "is told"']


def test_every_phrase_says_what_to_write_instead() -> None:
    lines = (ROOT / ".ci" / "banned_phrases.txt").read_text().splitlines()
    phrases = [line for line in lines if line and not line.startswith("#")]
    assert phrases
    assert [line for line in phrases if not line.partition("  # ")[2]] == []
