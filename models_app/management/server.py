"""Runs one NOA server: its lock, its socket, its web processes, and the worker with the runners."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import Conflict, InsufficientMemory
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind, JobState, ModelStatus
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.engines import descriptors
from models_app.management import banner, first_start
from models_app.management.web_processes import WebProcesses
from models_app.models import Job, Provider, RegisteredModel
from models_app.services.api_keys import budgets
from models_app.services.catalog import lookup
from models_app.services.coordination import data_folder
from models_app.services.jobs import jobs, waiting
from models_app.services.lifecycle import commands
from models_app.services.registry import discovery
from models_app.services.routes import routing
from models_app.tasks import queueing
from models_app.tasks.worker import EmbeddedWorker, restore

# Some files cannot be loaded; after this many the start continues and reports it.
_FIRST_MODELS_TRIED = 5


class Server:
    """`output` prints text for the operator."""

    def __init__(self, *, host: str, port: int, web_processes: int, output: Callable[[str], object]) -> None:
        self._host = host
        self._port = port
        self._web_processes = web_processes
        self._output = output

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM; raises Conflict when the data folder is in use or not private, or the port
        is in use."""
        # For this process, and for the web processes and runners that it starts.
        descriptors.raise_limit()
        folder = Path(settings.NOA_DATA_DIR)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_folder.secure(folder)
        with only_server(folder / "server.lock"), listening(self._host, self._port) as listener:
            made = first_start.prepare()
            require_exact_limits(self._web_processes)
            self._serve(listener, made)

    def _serve(self, listener: socket.socket, made: first_start.Secrets) -> None:
        worker = EmbeddedWorker() if settings.NOA_EMBEDDED else None
        # uvicorn raises the signal again after its shutdown; the rest of this function must still run.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)
        announcer = threading.Thread(target=self._announce, args=(made,), name="noa-announcer", daemon=True)
        try:
            if worker:
                worker.start()
            if self._web_processes == 1:
                announcer.start()
                serve_here(listener)
            else:
                self._serve_many(listener, announcer)
        finally:
            self._output("Stopping the worker and its runners.")
            if worker:
                worker.stop()

    def _serve_many(self, listener: socket.socket, announcer: threading.Thread) -> None:
        processes = WebProcesses(command=settings.NOA_WEB_COMMAND, listener=listener, count=self._web_processes)
        processes.start()
        announcer.start()
        try:
            processes.run()
        finally:
            processes.stop()

    def _announce(self, made: first_start.Secrets) -> None:
        """Loads the models of the desired state, then prints the banner."""
        try:
            if settings.NOA_EMBEDDED:
                discover()
                restore()
                load_first_model()
                discover_everywhere()
            self._output(banner.text(host=self._host, port=self._port, made=made, state=wait_for_current()))
        finally:
            connection.close()


def serve_here(listener: socket.socket) -> None:
    """Serves in this process."""
    serve: Callable[[socket.socket], None] = import_string(settings.NOA_WEB_SERVER)
    serve(listener)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


@contextmanager
def only_server(path: Path) -> Iterator[None]:
    """Holds the folder's lock, which ends with this process; raises Conflict when another server holds it."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Conflict(
                f"Another NOA server (process {file.read().strip() or 'unknown'}) uses {path.parent}. "
                "Stop it, or give this one another NOA_DATA_DIR.",
                code="data_dir_in_use",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # Before the file closes and releases the lock: a later open finds no file or a new one.
            path.unlink(missing_ok=True)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The bound socket, before any other work: a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with NOA_PORT or --port.",
                code="address_in_use",
            ) from error
        listener.listen(2048)
        yield listener


def discover() -> None:
    """Discovers the model folders in a job on this thread."""
    job, created = commands.request_discover(provider=lookup.LOCAL_SLUG, actor="serve")
    if not created:
        return
    with jobs.run(job_id=str(job.pk), node=settings.NOA_NODE) as run:
        if run:
            discovery.discover(run=run, provider=lookup.LOCAL_SLUG)


def discover_everywhere() -> None:
    """Enqueues discovery of the other providers behind the first loads: a provider can be slow."""
    if not Provider.objects.filter(enabled=True).exclude(slug=lookup.LOCAL_SLUG).exists():
        return
    job, created = commands.request_discover(actor="serve")
    if created:
        queueing.enqueue(job)


def load_first_model() -> None:
    """On the first start, switches `current` to the first model that loads: of those that can chat, as long as there
    are any, and then of the others. Those that do not fit are no attempts."""
    if routing.get().target is not None or RegisteredModel.objects.filter(wanted=True).exists():
        return
    models = RegisteredModel.objects.filter(provider=lookup.local_provider(), gone_at=None).order_by("key")
    failures = 0
    for model in sorted(models, key=_usefulness):
        job, created = commands.request_switch(key=model.key, route=CURRENT_ROUTE, keep_previous=False, actor="serve")
        if created:
            queueing.enqueue(job)
        ended = waiting.wait(job_id=job.pk, seconds=settings.NOA_LOAD_TIMEOUT)
        failures += ended.error_code != InsufficientMemory.default_code
        if ended.state == JobState.SUCCEEDED or failures == _FIRST_MODELS_TRIED:
            return


def _usefulness(model: RegisteredModel) -> int:
    """0 for what the command that the start prints needs, then what generates, then the rest."""
    order = (Capability.CHAT_COMPLETION, Capability.TEXT_GENERATION)
    return next((number for number, needed in enumerate(order) if needed in model.capabilities), len(order))


def wait_for_current() -> banner.State:
    """The state of `current` after the loads of the start."""
    loads = Job.objects.filter(actor__in=("serve", "restore")).exclude(kind=JobKind.DISCOVER)
    ended = [
        waiting.wait(job_id=job.pk, seconds=settings.NOA_LOAD_TIMEOUT)
        for job in loads.filter(state__in=ACTIVE_JOB_STATES)
    ]
    target = routing.get().target
    if target is not None and target.status == ModelStatus.LOADED:
        return banner.State(model=target.key, problem=None)
    failed = [job.error_message for job in ended or loads[:1] if job.error_message]
    return banner.State(model=target.key if target else None, problem="; ".join(failed) or None)


def require_exact_limits(web_processes: int) -> None:
    """Raises Conflict when keys have limits that each web process would count separately."""
    limited = budgets.keys_with_limits()
    if limited and not budgets.is_exact():
        raise Conflict(
            f"{len(limited)} API keys have limits (the first: {limited[0]}), and {web_processes} web processes need"
            " Redis to count together: set NOA_REDIS_URL, remove the limits, or serve with one process.",
            code="limits_need_redis",
        )
