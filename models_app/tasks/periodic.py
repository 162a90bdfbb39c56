"""Work that comes again and again in every worker, embedded or of Celery, with no need of beat.

`LOOKS` is the list of it. Each look has a thread of its own, so that one that hangs delays no other; what it raises is
logged, and it comes again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import DatabaseError, connection

from models_app.domain.errors import NoaError
from models_app.services.coordination import leases

logger = logging.getLogger(__name__)

# What a stop gives to looks that are under way; they are daemon threads, and whatever they do may be cut.
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """`work` is called every `seconds()`, and at once when the look is stirred.

    alone    only one of all workers does it in each period
    """

    name: str
    seconds: Callable[[], float]
    work: Callable[[], None]
    alone: bool = False


class Rounds:
    """All looks of a process, from `start` to `stop`, which may follow each other again."""

    def __init__(self, looks: Iterable[Look]) -> None:
        self._looks = tuple(looks)
        self._stirred = {look.name: threading.Event() for look in self._looks}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(look,), name=f"look-{look.name}", daemon=True)
            for look in self._looks
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for event in self._stirred.values():
            event.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self._threads = []

    def stir(self, name: str) -> None:
        """Let a look come now. From any thread; a look that is not on this list does not come here."""
        event = self._stirred.get(name)
        if event is not None:
            event.set()

    def _run(self, look: Look) -> None:
        stirred = self._stirred[look.name]
        while not self._stopping.is_set():
            stirred.clear()
            self._come(look)
            stirred.wait(look.seconds())

    def _come(self, look: Look) -> None:
        try:
            if not look.alone or leases.claim(name=look.name, seconds=look.seconds()):
                look.work()
        except DatabaseError:
            logger.warning("%s: the database does not answer; later", look.name, exc_info=True)
        except NoaError as error:
            logger.warning("%s: %s", look.name, error.message)
        except Exception:
            # A thread that ended here would leave its work undone for ever, and nobody would know.
            logger.exception("%s failed; it comes again", look.name)
        finally:
            connection.close()
