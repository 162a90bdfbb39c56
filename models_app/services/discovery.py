"""Asks every provider, or one, which models it has. One that does not answer does not stop the others."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from models_app.domain.discovery import ProviderReport
from models_app.domain.errors import NoaError, ProviderError
from models_app.domain.events import EventName
from models_app.domain.routing import RemoteEndpoint
from models_app.models import Provider
from models_app.providers import dialects
from models_app.services import events, local_discovery, providers, registry, remote_discovery
from models_app.services.jobs import Run

# The column's length.
_MAX_ERROR = 500


def discover(*, run: Run, provider: str | None = None) -> None:
    """Look for models at one provider, or at all that are enabled.

    The job's result tells of each provider as `models_app.domain.discovery.ProviderReport`. Raises NotFound for an
    unknown provider, and ProviderError when every one of them failed.
    """
    asked = _asked(provider)
    reports: dict[str, ProviderReport] = {}
    try:
        for found in asked:
            if not providers.is_remote(found):
                reports[found.slug] = local_discovery.discover(run=run)
                _keep(run, found, reports[found.slug])
        for found, report in _ask_remote(run, [one for one in asked if providers.is_remote(one)]):
            reports[found.slug] = report
            _keep(run, found, report)
    finally:
        run.result["providers"] = {slug: report.as_dict() for slug, report in reports.items()}
    _raise_if_all_failed(reports)


def _asked(slug: str | None) -> list[Provider]:
    registry.local_provider()
    if slug is not None:
        return [registry.provider(slug=slug)]
    return list(Provider.objects.filter(enabled=True))


def _ask_remote(run: Run, asked: Iterable[Provider]) -> Iterable[tuple[Provider, ProviderReport]]:
    """All at once; who answers first is stored first."""
    by_slug = {provider.slug: provider for provider in asked}
    endpoints: list[RemoteEndpoint] = []
    for provider in by_slug.values():
        try:
            endpoints.append(providers.endpoint(provider))
        except NoaError as error:
            yield provider, ProviderReport.failure(error)
    if not endpoints:
        return
    with run.step("ask", ", ".join(endpoint.provider for endpoint in endpoints)):
        for slug, outcome in dialects.list_all(endpoints, look=run.check_cancelled):
            provider = by_slug[slug]
            if isinstance(outcome, NoaError):
                yield provider, ProviderReport.failure(outcome)
            else:
                yield (
                    provider,
                    remote_discovery.take_in(run=run, provider=provider, listing=outcome),
                )


def _keep(run: Run, provider: Provider, report: ProviderReport) -> None:
    failed = report.failed
    fields = {"discovery_error": failed["message"][:_MAX_ERROR] if failed else ""}
    times = {} if failed else {"discovered_at": timezone.now()}
    Provider.objects.filter(pk=provider.pk).update(**fields, **times)
    what = (
        f"'{provider.slug}' could not be asked for its models."
        if failed
        else f"'{provider.slug}' was asked for its models: {report.sentence()}."
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
        f"None of {len(failures)} providers could be asked. The first said: {first['message']}",
        code=first["code"],
    )
