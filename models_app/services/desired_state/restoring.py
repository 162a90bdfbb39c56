"""Restores a snapshot as far as possible: model by model, route by route."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Cancelled, Conflict, NoaError
from models_app.domain.events import EventName
from models_app.domain.states import InstanceState
from models_app.models import Instance, RegisteredModel, Route
from models_app.services.catalog import lookup
from models_app.services.desired_state import saved_states
from models_app.services.events import events
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import loading, unloading
from models_app.services.routes import routes, routing
from models_app.services.runners import instances


def restore(*, run: Run, name: str, unload_others: bool = False) -> None:
    """Load the snapshot's models, move its routes, and with `unload_others` unload all other models.

    Continues after a failure. The job's result lists what was done, and what failed and why; at the end it raises
    Conflict when anything failed. What was done before a cancel stays.
    """
    content = saved_states.get(name=name).content
    before = saved_states.desired()
    work = _Restore(run, content)
    work.load_models()
    work.move_routes()
    if unload_others:
        work.unload_others()
    failed = work.report["failed"]
    events.publish(
        name=EventName.STATE_RESTORED,
        subject=name,
        message=f"The state '{name}' was restored{', but not all of it' if failed else ''}.",
        actor=run.actor,
        cause="requested",
        before=before,
        after=saved_states.desired(),
        job_id=run.job.pk,
        data=dict(work.report),
    )
    if failed:
        names = ", ".join(f"{failure['kind']} {failure['name']} ({failure['code']})" for failure in failed)
        raise Conflict(
            f"Not all of '{name}' could be restored: {names}. The job's result has the reasons.",
            code="restore_incomplete",
        )


class Part(Run):
    """A part of a job, from `low` to `high` of its progress, with a separate result.

    After the commit point of a part the whole job can still be cancelled: the next part is then not started.
    """

    def __init__(self, whole: Run, low: float, high: float) -> None:
        super().__init__(whole.job)
        self.cancel_requested = whole.cancel_requested
        self._whole = whole
        self._low, self._high = low, high

    def progress(self, fraction: float) -> None:
        super().progress(self._low + (self._high - self._low) * fraction)

    def commit_point(self) -> None:
        self._raise_if_cancelled()

    def _raise_if_cancelled(self) -> None:
        self._whole._raise_if_cancelled()


class _Restore:
    """A restore in progress. `report` is the job's result, and grows with the work."""

    def __init__(self, run: Run, content: dict[str, Any]) -> None:
        self._run = run
        self._models: list[dict[str, Any]] = content["models"]
        self._routes: list[dict[str, Any]] = content["routes"]
        self.report: dict[str, list[Any]] = {
            "loaded": [],
            "unchanged": [],
            "moved": [],
            "unloaded": [],
            "failed": [],
        }
        run.result |= self.report

    def load_models(self) -> None:
        """Load targets of routes first: applications wait for them."""
        targets = {route["target"] for route in self._routes}
        ordered = sorted(self._models, key=lambda model: model["key"] not in targets)
        for number, model in enumerate(ordered):
            part = Part(self._run, number / len(ordered), (number + 1) / len(ordered))
            with self._recording("model", model["key"]), part.step("restore model", model["key"]):
                self._load(part, model["key"], LoadOptions.parse(model["options"]))

    def _load(self, part: Part, key: str, options: LoadOptions) -> None:
        model = lookup.get(key=key)
        instance = instances.serving(model=model)
        if instance is None:
            # A load without options uses those of the last load.
            RegisteredModel.objects.filter(pk=model.pk).update(load_options=options.as_dict())
        elif LoadOptions.parse(instance.options) != options:
            raise Conflict(
                f"'{model.key}' is loaded with other options. Unload it first, then restore again.",
                code="loaded_with_other_options",
            )
        loading.load(run=part, key=model.key, options=options)
        self.report["unchanged" if instance else "loaded"].append(model.key)

    def move_routes(self) -> None:
        for route in self._routes:
            with self._recording("route", route["name"]):
                self._run.check_cancelled()
                if self._move(**route):
                    self.report["moved"].append(route["name"])

    def _move(self, name: str, target: str | None, **described: Any) -> bool:
        """Returns True if it changed the route. Without a target in the snapshot a route keeps its own."""
        actor, cause, job_id = self._run.actor, self._run.cause, self._run.job.pk
        route = Route.objects.select_related("target").filter(name=name).first()
        if route is None:
            routes.create(name=name, target=target, **described, actor=actor, cause=cause)
            return True
        now = routes.represent(route)
        moves = target is not None and target != now["target"]
        if moves and target is not None:
            model = lookup.get(key=target)
            routing.repoint(route=route, model=model, actor=actor, cause=cause, job_id=job_id)
        changes = {field: value for field, value in described.items() if value != now[field]}
        if changes:
            routes.change(name=name, changes=changes, actor=actor, cause=cause)
        return moves or bool(changes)

    def unload_others(self) -> None:
        kept = {model["key"] for model in self._models}
        loaded = Instance.objects.filter(state=InstanceState.READY).exclude(model__key__in=kept)
        for key in loaded.order_by("model__key").values_list("model__key", flat=True):
            part = Part(self._run, 1.0, 1.0)
            with self._recording("model", key), part.step("unload", key):
                unloading.unload(run=part, key=key)
                self.report["unloaded"].append(key)

    @contextmanager
    def _recording(self, kind: str, name: str) -> Iterator[None]:
        """Record a failure, and continue with the rest."""
        try:
            yield
        except Cancelled:
            raise
        except NoaError as error:
            self.report["failed"].append({"kind": kind, "name": name, "code": error.code, "reason": error.message})
