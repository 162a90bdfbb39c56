"""Keeps the data folder private: it holds the database with its sessions and hashes, and the keys of secrets."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from models_app.domain.errors import Conflict

logger = logging.getLogger(__name__)

_OTHERS = 0o077
# Of a refusal: the first of them are enough to see what is wrong.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Exposed:
    """A folder or file that other users can read or change. `mode` is its permission bits, with setgid and sticky."""

    path: Path
    mode: int
    owner: int  # user id
    group: int
    is_folder: bool

    @property
    def mode_needed(self) -> int:
        return 0o700 if self.is_folder else self.mode & 0o700

    @property
    def is_shared_volume(self) -> bool:
        """Whether an orchestrator gives this to a group of this process, as Kubernetes does with `fsGroup`: a volume's
        folders, and files that it mounts there, are never this user's."""
        if self.group not in {os.getegid(), *os.getgroups()}:
            return False
        return self.is_folder and bool(self.mode & stat.S_ISGID) or not self.mode & stat.S_IRWXO

    @property
    def is_safe(self) -> bool:
        """Whether the private files in this folder are safe although it is not private: no other user replaces them."""
        if self.is_shared_volume:
            return True
        return self.is_folder and (not self.mode & (stat.S_IWOTH | stat.S_IWGRP) or bool(self.mode & stat.S_ISVTX))


def exposed(folder: Path) -> Iterator[Exposed]:
    """Everything in the folder that other users can access, the folder first. Model files are no secrets; links and
    what disappears meanwhile are skipped."""
    found = _look(folder)
    if found is not None:
        yield found
    models = Path(settings.NOA_MODELS_DIR)
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = [child for child in folders if here / child != models]
        for child in (*folders, *files):
            found = _look(here / child)
            if found is not None:
                yield found


def secure(folder: Path) -> None:
    """Take access to the data folder from other users. Raises Conflict (`data_dir_not_private`) where this user
    cannot: a server that starts anyway would show its secrets."""
    left: list[Exposed] = []
    changed = 0
    for found in list(exposed(folder)):
        if _close(found):
            changed += 1
        elif found.is_safe:
            logger.warning("%s is not this user's (mode %o): its mode stays", found.path, found.mode)
        else:
            left.append(found)
    if changed:
        logger.warning("took the access of other users to %d files and folders from %s", changed, folder)
    if left:
        shown = ", ".join(f"{one.path} (mode {one.mode:o}, user {one.owner})" for one in left[:_SHOWN])
        raise Conflict(
            f"Other users can read or replace {shown}, and this user ({os.geteuid()}) cannot change that. Run "
            f"'chown -R {os.geteuid()} {folder}' as root, or set NOA_DATA_DIR to a subfolder of it, which NOA makes "
            "private.",
            code="data_dir_not_private",
        )


def _look(path: Path) -> Exposed | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not status.st_mode & _OTHERS or not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return None
    return Exposed(
        path, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, is_folder=stat.S_ISDIR(status.st_mode)
    )


def _close(found: Exposed) -> bool:
    """Whether the path is private now. Some file systems accept a chmod without an effect."""
    try:
        # Not through a link that has taken its place meanwhile.
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        os.fchmod(descriptor, found.mode_needed)
        return not os.fstat(descriptor).st_mode & _OTHERS
    except OSError:
        return False
    finally:
        os.close(descriptor)
