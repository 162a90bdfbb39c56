"""Filter sets of lists: each filter parses its query parameter strictly, and describes it for the schema."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as django_filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from models_app.api import query
from models_app.api.serializers.names import KEY
from models_app.domain.errors import InvalidRequest
from models_app.domain.events import EventName
from models_app.domain.states import JobKind, JobState
from models_app.models import Event
from models_app.services.access_log.search import AccessFilter
from models_app.services.api_keys import keys
from models_app.services.events.events import EventFilter
from models_app.services.profiling import profiling

# Ids are 64-bit numbers in every database.
_MAX_ID = 2**63 - 1
EVENT_ID = {"type": "integer", "minimum": 0, "maximum": _MAX_ID}
KEY_STATES = ("active", "expired", "revoked")

Reader = Callable[[Request, str], Any]


class QueryFilter(django_filters.Filter):
    """Compares a column with a parameter; `read` parses it, and returns None where it is absent."""

    def __init__(
        self,
        read: Reader,
        kind: Any,
        description: str,
        *,
        field_name: str | None = None,
        lookup_expr: str = "exact",
        **described: Any,
    ) -> None:
        super().__init__(field_name=field_name, lookup_expr=lookup_expr)
        self.read = read
        self._described = {"type": kind, "description": description} | described

    def parameter(self, name: str) -> OpenApiParameter:
        return OpenApiParameter(name, **self._described)

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        """Filters by any value but None: an empty text is a value too."""
        return qs if value is None else qs.filter(**{f"{self.field_name}__{self.lookup_expr}": value})


def _text(description: str, **more: Any) -> QueryFilter:
    return QueryFilter(query.text, query.text_schema(), description, **more)


def _flag(description: str) -> QueryFilter:
    return QueryFilter(query.flag, bool, description)


def _since(field_name: str) -> QueryFilter:
    return QueryFilter(
        query.moment, OpenApiTypes.DATETIME, "Not before this time.", field_name=field_name, lookup_expr="gte"
    )


def _until(field_name: str) -> QueryFilter:
    return QueryFilter(
        query.moment, OpenApiTypes.DATETIME, "Before this time.", field_name=field_name, lookup_expr="lt"
    )


def _choice(values: Iterable[str], description: str) -> QueryFilter:
    known = list(values)
    return QueryFilter(lambda request, name: query.choice(request, name, known), str, description, enum=known)


class StrictFilterSet(django_filters.FilterSet):
    """Filters without a form: `query` parses the parameters. Raises InvalidRequest, which names the parameter."""

    base_filters: ClassVar[dict[str, QueryFilter]]
    filters: dict[str, QueryFilter]
    request: Request

    def __init__(self, data: Any = None, queryset: Any = None, *, request: Request, prefix: str | None = None) -> None:
        # Without the deep copy of every filter that the base class makes: these have no state.
        self.is_bound = data is not None
        self.data, self.queryset, self.request, self.form_prefix = data, queryset, request, prefix
        self.filters = self.base_filters

    @cached_property
    def values(self) -> dict[str, Any]:
        return {name: item.read(self.request, name) for name, item in self.filters.items()}

    @property
    def qs(self) -> QuerySet[Any]:
        return self.filter_queryset(self.queryset)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name, value in self.values.items():
            queryset = self.filters[name].filter(queryset, value)
        return queryset

    @classmethod
    @cache
    def parameters(cls) -> list[OpenApiParameter]:
        return [item.parameter(name) for name, item in cls.base_filters.items()]


class StrictFilterBackend(django_filters.DjangoFilterBackend):
    """Applies the `filterset_class` of a viewset."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filters = self.get_filterset(request, queryset, view)
        return queryset if filters is None else filters.qs

    def parameters(self, view: Any) -> list[OpenApiParameter]:
        filters: type[StrictFilterSet] | None = self.get_filterset_class(view)
        return filters.parameters() if filters else []


def _states(request: Request, name: str) -> Any:
    return query.choices(request, name, list(JobState)) or None


class JobFilters(StrictFilterSet):
    kind = _choice(JobKind, "Of this kind.")
    state = QueryFilter(
        _states, str, "In one of these states; repeatable.", lookup_expr="in", many=True, enum=list(JobState)
    )
    subject = _text("About this model key, route or provider.")
    actor = _text("Requested by this user or key.")
    since = _since("created_at")


class AuditFilters(StrictFilterSet):
    actor = _text("By this user or key, as `key:ci`.")
    action = _text("This operation, as `load_model`, or console action.")
    subject = _text("About this model key, route or key.")
    since = _since("at")


class ApiKeyFilters(StrictFilterSet):
    state = _choice(KEY_STATES, "In this state.")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return keys.in_state(self.values["state"])


class ProfileFilters(StrictFilterSet):
    complete = _flag("Complete ones, or not.")


class AllProfileFilters(ProfileFilters):
    model = QueryFilter(query.text, KEY, "Of the model with this key.")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return profiling.profiles(key=self.values["model"], complete=self.values["complete"])


class AccessFilters(StrictFilterSet):
    model = _text("Answered by the model with this key.")
    route = _text("Requested by this route.")
    key = _text("Of the API key with this id.")
    status = QueryFilter(
        lambda request, name: query.given_integer(request, name, low=100, high=599),
        {"type": "integer", "minimum": 100, "maximum": 599},
        "Answered with this HTTP status.",
    )
    error_code = _text("Ended with this error.")
    request_id = _text("NOA's, or the client's X-Request-ID.")
    stream = _flag("Streamed, or not.")
    end_user = _text("Of the end user that the client named.")
    session = _text("Of the session that the client named.")
    trace = _text("Of the trace with this id.")
    since = _since("started_at")
    until = _until("started_at")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return AccessFilter(**self.values).rows()


def _event_names(request: Request, name: str) -> frozenset[str]:
    names = request.query_params.getlist(name)
    for text in names:
        if text not in set(EventName):
            raise InvalidRequest(f"Unknown event '{text[:80]}'. Known: {', '.join(EventName)}.", param=name)
    return frozenset(names)


def _uuid(request: Request, name: str) -> uuid.UUID | None:
    text = request.query_params.get(name)
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise InvalidRequest(f"'{name}' must be the id of a job.", param=name) from None


def _event_id(request: Request, name: str) -> int | None:
    """The id of the event to start after; the header takes precedence over the parameter."""
    by_query = _parse_event_id(request.query_params.get(name), name)
    by_header = _parse_event_id(request.headers.get("Last-Event-ID"), name)
    return by_query if by_header is None else by_header


def _parse_event_id(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _MAX_ID:
        raise InvalidRequest("'Last-Event-ID' must be the id of an event.", param=name)
    return int(text)


class EventFilters(StrictFilterSet):
    name = QueryFilter(_event_names, str, "Of these names; repeatable.", many=True, enum=list(EventName))
    subject = _text("About this model key, route or provider.")
    actor = _text("Requested by this user, key or part of NOA.")
    job = QueryFilter(_uuid, OpenApiTypes.UUID, "Of this job.")
    since = _since("created_at")
    until = _until("created_at")
    last_event_id = QueryFilter(
        _event_id,
        EVENT_ID,
        "Only what follows this event. A stream begins there.",
        field_name="pk",
        lookup_expr="gt",
    )

    @property
    def chosen(self) -> EventFilter:
        """The conditions that apply to a stream too."""
        values = self.values
        return EventFilter(names=values["name"], subject=values["subject"], actor=values["actor"], job_id=values["job"])

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Event]:
        rows = self.chosen.rows()
        for name in ("since", "until", "last_event_id"):
            rows = self.filters[name].filter(rows, self.values[name])
        return rows
