"""Hot swap: move a route from one model to another without a failed request.

Where memory allows, the new model is loaded beside the old one (`overlap`). Where it does not, the old one is unloaded
first (`replace`): requests of the route wait meanwhile, within their deadlines, and after a failed load the old one is
loaded again.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from django.conf import settings
from django.db import transaction

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import (
    Cancelled,
    Conflict,
    Interrupted,
    LoadFailed,
    NoaError,
    RunnerDied,
)
from models_app.domain.events import EventName
from models_app.domain.residency.admission import LoadRequest, Memory, Node, Refuse, decide
from models_app.domain.residency.ledger import FactEvent, LedgerKind, LedgerOutcome, LifecycleFact
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.engines import control
from models_app.models import Instance, Job, RegisteredModel, Route
from models_app.services.catalog import ledger, lookup
from models_app.services.coordination import connections
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import admission, demands, loading, predictions, unloading
from models_app.services.lifecycle.loading import Loaded
from models_app.services.providers import providers
from models_app.services.routes import routing
from models_app.services.runners import instances

# The limit for one token of a warm model; a slower model could not serve users either.
_CANARY_SECONDS = 60.0
# The step that marks a model as unloaded only until another has replaced it.
_REPLACE_STEP = "replace"


class Mode(StrEnum):
    OVERLAP = "overlap"
    REPLACE = "replace"


def switch(
    *, run: Run, key: str, route_name: str = CURRENT_ROUTE, keep_previous: bool = False, force: bool = False
) -> None:
    """Load the new model, let it generate a token, move the route in one transaction, drain the old model.

    A failure or a cancel before the move leaves the route unchanged and the old model loaded. It stays loaded when
    `keep_previous` is true or another route leads to it. `force` also moves a route to a model that cannot answer what
    it was asked for.
    """
    model = lookup.get(key=key)
    route = routing.get(name=route_name)
    check_possible(model=model, route=route)
    if not force:
        demands.check(model=model, route=route)
    mode = choose_mode(model=model, route=route, keep_previous=keep_previous)
    run.result["mode"] = mode.value
    try:
        if mode == Mode.REPLACE and route.target is not None:
            previous = _replace(run, model, route, route.target)
        else:
            previous = _overlap(run, model, route)
    except (Cancelled, Interrupted):
        raise
    except NoaError as error:
        _record_failure(run, model, route, mode, error)
        raise
    run.result |= {"route": route.name, "previous": previous or None, "current": model.key}
    if previous and previous != model.key and not keep_previous:
        _retire_previous(run, previous, f" after '{route.name}' had moved to {model.key}")


def choose_mode(*, model: RegisteredModel, route: Route, keep_previous: bool) -> Mode:
    """`replace` where the new model fits only in place of the old one, and the old one can be unloaded."""
    previous, version = route.target, model.version
    if previous is None or version is None or not version.header:
        return Mode.OVERLAP
    if providers.is_remote(model.provider) or instances.serving(model=model) is not None:
        return Mode.OVERLAP
    spec = predictions.spec_for(version=version, options=LoadOptions.parse(model.load_options))
    need = predictions.predict(version=version, spec=spec).memory
    request = LoadRequest(model.key, need, priority=model.priority, spared=frozenset({previous.key}))
    here = admission.observe(query_runners=False)
    if not isinstance(decide(request, here), Refuse):
        return Mode.OVERLAP
    can_go = not keep_previous and not _others_need(previous, route)
    if can_go and not isinstance(decide(request, _without(previous, here)), Refuse):
        return Mode.REPLACE
    return Mode.OVERLAP


def _without(previous: RegisteredModel, here: Node) -> Node:
    """The node without that model's instances, their memory counted as free."""
    freed = sum((resident.memory for resident in here.residents if resident.key == previous.key), Memory())
    rest = tuple(resident for resident in here.residents if resident.key != previous.key)
    return Node(here.free + freed, rest, bound=here.bound, slots=here.slots)


def _others_need(previous: RegisteredModel, route: Route) -> bool:
    return Route.objects.filter(target=previous).exclude(pk=route.pk).exists()


def _overlap(run: Run, model: RegisteredModel, route: Route) -> str:
    """Returns the key of the route's previous target."""
    spared = frozenset({route.target.key}) if route.target else frozenset()
    loaded = loading.bring_up(run=run, key=model.key, options=LoadOptions(), spared=spared)
    return _verify_and_move(run, loaded, model, route, Mode.OVERLAP)


def _replace(run: Run, model: RegisteredModel, route: Route, previous: RegisteredModel) -> str:
    old = Instance.objects.select_related("model", "version").filter(
        model=previous, state=InstanceState.READY, node=settings.NOA_NODE
    )
    with run.step(_REPLACE_STEP, f"{previous.key} makes room for {model.key}"):
        options = LoadOptions()
        # Keeps other processes from loading it again meanwhile.
        wanted = RegisteredModel.objects.filter(pk=previous.pk, wanted=True).update(wanted=False)
        for instance in old:
            options = LoadOptions.parse(instance.options)
            unloading.retire(
                run=run,
                instance=instance,
                because=f" to make room for {model.key} on '{route.name}'",
            )
        try:
            loaded = loading.bring_up(run=run, key=model.key, options=LoadOptions())
            return _verify_and_move(run, loaded, model, route, Mode.REPLACE)
        except NoaError:
            _restore(run, previous, options, wanted=bool(wanted))
            raise


def _restore(run: Run, previous: RegisteredModel, options: LoadOptions, *, wanted: bool) -> None:
    """Load the old model again: the route still leads to it, and requests wait for it."""
    RegisteredModel.objects.filter(pk=previous.pk).update(wanted=wanted)
    with run.shielded():
        result, run.result = run.result, {}
        loading.bring_up(run=run, key=previous.key, options=options)
        run.result = result


def replaced(*, model: RegisteredModel) -> bool:
    """Whether a running switch has unloaded this model to replace it: loading it now would be useless."""
    jobs = Job.objects.filter(kind=JobKind.SWITCH, state=JobState.RUNNING)
    names = [
        job.subject
        for job in jobs
        if any(step["name"] == _REPLACE_STEP and step["state"] == "running" for step in job.steps)
    ]
    return bool(names) and Route.objects.filter(name__in=names, target=model).exists()


def _verify_and_move(run: Run, loaded: Loaded, model: RegisteredModel, route: Route, mode: Mode) -> str:
    """Returns the key of the route's previous target."""
    try:
        with run.step("verify", f"{model.key} answers one token"):
            _check_answers(loaded.instance)
        with run.step("move", f"'{route.name}' to {model.key}"), transaction.atomic():
            run.commit_point()
            loading.set_desired(loaded=loaded)
            previous = routing.repoint(route=route, model=model, actor=run.actor, job_id=run.job.pk)
            # `repoint` publishes the event.
            fact = _fact(run, LedgerOutcome.DONE, model=model, route=route, mode=mode, previous=previous)
            ledger.record(fact, instance=loaded.instance)
            return previous
    except NoaError:
        loading.undo(run=run, loaded=loaded)
        raise


def _check_answers(instance: Instance) -> None:
    """Raises LoadFailed when a local model that reports ready does not answer."""
    if instance.version_id is None or instance.node != settings.NOA_NODE:
        return
    generates = Capability.TEXT_GENERATION in instance.model.capabilities
    try:
        connections.release()
        control.canary(instance.socket, embeddings=not generates, timeout=_CANARY_SECONDS)
    except RunnerDied as error:
        raise LoadFailed(
            f"'{instance.model.key}' was loaded, but did not answer: {error.message}",
            stage="warm_up",
            code="canary_failed",
        ) from error


def check_possible(*, model: RegisteredModel, route: Route) -> None:
    """Raises Conflict when the route leads to this model already and the model answers."""
    if route.target_id != model.pk:
        return
    instance = instances.serving(model=model)
    if instance is not None and instance.state == InstanceState.READY:
        raise Conflict(
            f"'{route.name}' already leads to '{model.key}', which is loaded; nothing was changed.",
            code="already_current",
        )


def _record_failure(run: Run, model: RegisteredModel, route: Route, mode: Mode, error: NoaError) -> None:
    kept = route.target.key if route.target else "nothing"
    event = FactEvent(
        EventName.SWITCH_FAILED,
        f"'{route.name}' was not moved to {model.key}; it still leads to {kept}.",
        cause=error.message[:255],
        data={"route": route.name, "code": error.code, "reason": error.message, "mode": mode},
    )
    fact = _fact(run, LedgerOutcome.FAILED, model=model, route=route, mode=mode, previous=kept)
    ledger.record(replace(fact, reason=error.message, event=event))
    error.message = f"{error.message} '{route.name}' still leads to {kept}."


def _fact(
    run: Run, outcome: LedgerOutcome, *, model: RegisteredModel, route: Route, mode: Mode, previous: str
) -> LifecycleFact:
    return LifecycleFact(
        LedgerKind.SWITCH,
        model.key,
        outcome,
        run.origin,
        reason=f"'{route.name}' led to {previous or 'nothing'} before ({mode})",
        data={"route": route.name, "previous": previous or None, "mode": mode.value},
    )


def _retire_previous(run: Run, key: str, because: str) -> None:
    """Drain the route's previous target, unless another route still needs it."""
    previous = RegisteredModel.objects.filter(key=key).first()
    if previous is None or Route.objects.filter(target=previous).exists():
        return
    RegisteredModel.objects.filter(pk=previous.pk).update(wanted=False, replicas=1)
    old = Instance.objects.select_related("model", "version").filter(model=previous, state=InstanceState.READY)
    for instance in old:
        unloading.retire(run=run, instance=instance, because=because)
