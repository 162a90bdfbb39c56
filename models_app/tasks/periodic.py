"""Work that every worker repeats, embedded or of Celery, without Celery's beat.

Each task has its own thread, so that one that hangs delays no other; its errors are logged, and it is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from django.db import DatabaseError, connection

from models_app.domain.errors import NoaError
from models_app.services.coordination import leases
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

# The time that a stop waits for the tasks in progress; their threads are daemons, and their work can be cut anywhere.
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """`work` runs every `seconds()`, and at once when the task is triggered.

    alone    only one of all workers runs it in each period
    """

    name: str
    seconds: Callable[[], float]
    work: Callable[[], None]
    alone: bool = False

    def run(self) -> None:
        """Run the work once. Expected errors are logged: the next run can succeed."""
        try:
            if not self.alone or leases.claim(name=self.name, seconds=self.seconds()):
                self.work()
        except DatabaseError:
            logger.warning("%s: the database does not answer; retrying in the next run", self.name, exc_info=True)
        except NoaError as error:
            logger.warning("%s: %s", self.name, error.message)
        finally:
            connection.close()


class Scheduler:
    """Runs all periodic tasks of a process, from `start` to `stop`; it can be started again."""

    def __init__(self, tasks: Iterable[PeriodicTask]) -> None:
        self._threads = {task.name: RepeatingThread(task.name, task.run, task.seconds) for task in tasks}

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        for thread in self._threads.values():
            thread.request_stop()
        deadline = monotonic() + _STOP_SECONDS
        for thread in self._threads.values():
            thread.stop(max(0.0, deadline - monotonic()))

    def trigger(self, name: str) -> None:
        """Run a task now, from any thread. Does nothing for a task that this scheduler does not have."""
        thread = self._threads.get(name)
        if thread is not None:
            thread.wake()
