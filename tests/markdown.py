"""Parses the project's Markdown pages: code blocks, code spans, links, headings, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    def commands(self) -> list[str]:
        """The commands of a shell block; lines continued by a backslash or an open quote are one command."""
        found: list[str] = []
        for line in self.text.replace("\\\n", " ").splitlines():
            if found and found[-1].count("'") % 2:
                found[-1] += f"\n{line}"
            else:
                found.append(line)
        return found


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text()

    def blocks(self, *languages: str) -> list[Block]:
        found = [Block(*match.groups()) for match in _BLOCK.finditer(self.text)]
        return [block for block in found if not languages or block.language in languages]

    @property
    def _prose(self) -> str:
        return _BLOCK.sub("", self.text)

    def spans(self) -> list[str]:
        """The text between single backticks."""
        return _SPAN.findall(self._prose)

    def links(self) -> list[str]:
        return _LINK.findall(self._prose)

    def anchors(self) -> set[str]:
        titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(self._prose))
        return {title.replace(" ", "-") for title in titles}

    def section(self, title: str) -> str:
        """The text below a heading of the second level."""
        return self.text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table."""
    for line in _ROW.findall(text):
        yield [cell.strip() for cell in line.split(" | ")]


def words(cell: str) -> list[str]:
    """The text between backticks in one cell."""
    return _SPAN.findall(cell)


def page(name: str) -> Page:
    return Page(ROOT / name)


def pages() -> list[Page]:
    """Every page of the project."""
    found = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
    found += (ROOT / "models_app").rglob("*.md")
    return [Page(path) for path in sorted(found)]
