"""Finds the model files of a folder."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

# A part of a split model, as llama.cpp names them.
SPLIT_NAME = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
MAX_DEPTH = 6
# A folder with more is no model folder; the walk stops there and reports it.
MAX_FILES = 10_000
MAX_ENTRIES = 100_000


@dataclass(slots=True)
class FolderListing:
    """`files` are the models in a stable order; `skipped` are (path, reason) of files that look like one and are not.

    `projectors` are the vision parts of other models; they are among the skipped too.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    projectors: list[Path] = field(default_factory=list)


def find_files(root: Path) -> FolderListing:
    """Finds `*.gguf` under `root`. Follows links to files, not to folders; opens no file, never raises OSError."""
    walk = _Walk()
    walk.visit(root, depth=0)
    return walk.listing


class _Walk:
    def __init__(self) -> None:
        self.listing = FolderListing()
        self._entries = 0
        self._inodes: dict[tuple[int, int], Path] = {}

    def visit(self, folder: Path, depth: int) -> None:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self._skip(folder, f"The folder cannot be read: {(error.strerror or 'unknown').lower()}.")
            return
        for entry in entries:
            self._entries += 1
            if self._entries > MAX_ENTRIES or len(self.listing.files) >= MAX_FILES:
                self._skip(folder, "The folder contains too many files; the rest was skipped.")
                return
            self._visit_entry(entry, depth)

    def _visit_entry(self, entry: os.DirEntry[str], depth: int) -> None:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if depth + 1 > MAX_DEPTH:
                self._skip(path, f"The folder lies more than {MAX_DEPTH} levels deep.")
            else:
                self.visit(path, depth + 1)
        elif entry.name.lower().endswith(".gguf"):
            reason = _odd_name(entry.name) or _odd_part(entry.name) or self._odd_file(entry, path)
            if reason:
                self._skip(path, reason)
            else:
                self.listing.files.append(path)

    def _odd_file(self, entry: os.DirEntry[str], path: Path) -> str | None:
        try:
            status = entry.stat()
        except OSError as error:
            return f"It cannot be read: {(error.strerror or 'unknown').lower()}."
        if not stat.S_ISREG(status.st_mode):
            return "It is not a regular file."
        if "mmproj" in entry.name.lower():
            self.listing.projectors.append(path)
            return "It is a projector (mmproj), the vision part of another model."
        first = self._inodes.setdefault((status.st_dev, status.st_ino), path)
        return None if first == path else f"It is the same file as '{first.name}'."

    def _skip(self, path: Path, reason: str) -> None:
        # A name that is not UTF-8 must not reach a database or a JSON answer.
        printable = os.fsencode(path).decode("utf-8", "backslashreplace")
        self.listing.skipped.append((Path(printable), reason))


def _odd_name(name: str) -> str | None:
    if not name.isprintable():
        return "Its name contains control characters or is not valid UTF-8. Rename it."
    return None


def _odd_part(name: str) -> str | None:
    part = SPLIT_NAME.search(name)
    if part and int(part["number"]) != 1:
        return "It is a further part of a model in several files; the first part stands for all."
    return None
