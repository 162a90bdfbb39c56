"""Output: tables and colours on a terminal, tab-separated lines in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

NOTHING = "-"


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A terminal gets a header and aligned columns; a pipe gets only the rows."""
    cells = [[cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        show_lines("\t".join(row) for row in cells)
        return
    # Importing rich takes a third of a second on a small machine: only terminals need it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column)
    for row in cells:
        # One line a row: a narrow terminal truncates the widest cells, never the first.
        table.add_row(*(Text(text, no_wrap=True, overflow="ellipsis") for text in row))
    Console().print(table)


def show_fields(fields: Sequence[tuple[str, Any]]) -> None:
    """One object, a line for each field."""
    cells = [(name, cell(value)) for name, value in fields]
    if sys.stdout.isatty():
        width = max(len(name) for name, _ in cells)
        show_lines(f"{name:<{width}}  {value}" for name, value in cells)
    else:
        show_lines(f"{name}\t{value}" for name, value in cells)


def show_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def message(line: str) -> None:
    """Print a line for people, on standard error."""
    print(visible(line), file=sys.stderr)


def cell(value: Any) -> str:
    """A value on one line; a dash for an unknown or empty one."""
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={cell(item)}" for name, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value)).replace("\n", " ").replace("\t", " ")


def visible(text: str) -> str:
    """Replaces control characters in external text."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def size(count: int | None) -> str | None:
    """Bytes in binary units."""
    if count is None:
        return None
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}" if amount < 100 else f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def seconds(count: float | None) -> str | None:
    return None if count is None else f"{count:.1f} s"
