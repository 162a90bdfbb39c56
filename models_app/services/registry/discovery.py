"""Lists the models of every provider, or of one. A provider that does not answer does not stop the others."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.utils import timezone

from models_app.domain.catalog.discovery import ProviderReport
from models_app.domain.errors import NoaError, ProviderError
from models_app.domain.events import EventName
from models_app.domain.states import JobKind
from models_app.domain.traffic.routing import RemoteEndpoint
from models_app.models import Job, Provider
from models_app.providers import dialects
from models_app.services.catalog import lookup
from models_app.services.coordination import connections
from models_app.services.events import events
from models_app.services.jobs import jobs, waiting
from models_app.services.jobs.jobs import Run
from models_app.services.nodes import placement
from models_app.services.providers import contacts, providers
from models_app.services.registry import local_discovery, remote_discovery

# The time for another node to read its model files: computing the digest of a large one is slow.
_NODE_SECONDS = 300.0
# The column's length.
_MAX_ERROR = 500


def discover(*, run: Run, provider: str | None = None) -> None:
    """Discover the models of one provider, or of all enabled ones.

    The job's result has a `models_app.domain.catalog.discovery.ProviderReport` of each provider. Raises NotFound for
    an unknown provider, and ProviderError when all of them failed.
    """
    chosen = _chosen(provider)
    reports: dict[str, ProviderReport] = {}
    try:
        for found in chosen:
            if not providers.is_remote(found):
                others = _request_other_nodes(run, found)
                reports[found.slug] = local_discovery.discover(run=run)
                _keep(run, found, reports[found.slug])
                _wait_for_nodes(run, others)
        for found, report in _list_remote(run, [row for row in chosen if providers.is_remote(row)]):
            reports[found.slug] = report
            _keep(run, found, report)
    finally:
        run.result["providers"] = {slug: report.as_dict() for slug, report in reports.items()}
    _raise_if_all_failed(reports)


def _request_other_nodes(run: Run, provider: Provider) -> list[Job]:
    """Create a job for each other node, which reads its own disk; none if this job names its node."""
    if run.job.asked_node:
        return []
    rows = placement.up().exclude(name=settings.NOA_NODE)
    return [of_node(name=name, actor=run.actor, slug=provider.slug) for name in rows.values_list("name", flat=True)]


def of_node(*, name: str, actor: str, slug: str = lookup.LOCAL_SLUG) -> Job:
    """A job that discovers the model files of one node."""
    return jobs.create(
        kind=JobKind.DISCOVER,
        subject=slug,
        arguments={"provider": slug},
        actor=actor,
        asked_node=name,
    )[0]


def _wait_for_nodes(run: Run, others: list[Job]) -> None:
    """Wait for the jobs of other nodes, which hold their results; one without an answer does not stop the others."""
    for job in others:
        with run.step("node", job.asked_node):
            ended = waiting.wait(job_id=job.pk, seconds=_NODE_SECONDS)
        run.result.setdefault("nodes", {})[job.asked_node] = {
            "job": str(job.pk),
            "state": ended.state,
        }


def _chosen(slug: str | None) -> list[Provider]:
    lookup.local_provider()
    if slug is not None:
        return [lookup.provider(slug=slug)]
    return list(Provider.objects.filter(enabled=True))


def _list_remote(run: Run, chosen: Iterable[Provider]) -> Iterable[tuple[Provider, ProviderReport]]:
    """List the models of all remote providers concurrently, and store each answer as it arrives."""
    by_slug = {provider.slug: provider for provider in chosen}
    endpoints: list[RemoteEndpoint] = []
    for provider in by_slug.values():
        try:
            endpoints.append(providers.endpoint(provider))
        except NoaError as error:
            yield provider, ProviderReport.failure(error)
    if not endpoints:
        return
    with run.step("ask", ", ".join(endpoint.provider for endpoint in endpoints)):
        connections.release()
        for slug, outcome in dialects.list_all(endpoints, poll=run.check_cancelled):
            provider = by_slug[slug]
            if isinstance(outcome, NoaError):
                yield provider, ProviderReport.failure(outcome)
            else:
                yield (
                    provider,
                    remote_discovery.store(run=run, provider=provider, listing=outcome),
                )


def _keep(run: Run, provider: Provider, report: ProviderReport) -> None:
    failed = report.failed
    fields = {"discovery_error": failed["message"][:_MAX_ERROR] if failed else ""}
    times = {} if failed else {"discovered_at": timezone.now()}
    Provider.objects.filter(pk=provider.pk).update(**fields, **times)
    if providers.is_remote(provider):
        contacts.report_outcome(
            slug=provider.slug, code=failed["code"] if failed else None, reason=failed["message"] if failed else ""
        )
    what = (
        f"The models of '{provider.slug}' could not be listed."
        if failed
        else f"The models of '{provider.slug}' were listed: {report.sentence()}."
    )
    events.publish(
        name=EventName.PROVIDER_DISCOVERED,
        subject=provider.slug,
        message=what,
        actor=run.actor,
        cause=run.cause,
        job_id=run.job.pk,
        data=report.counts() | {"failed": failed},
    )


def _raise_if_all_failed(reports: dict[str, ProviderReport]) -> None:
    failures = [report.failed for report in reports.values()]
    if not failures or None in failures:
        return
    first = failures[0]
    assert first is not None
    if len(failures) == 1:
        raise ProviderError(first["message"], code=first["code"])
    raise ProviderError(
        f"None of {len(failures)} providers listed its models. The first error: {first['message']}",
        code=first["code"],
    )
