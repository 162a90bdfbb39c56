"""The router of the management API: typed look-ups, no trailing slash, URL names in the singular and plural."""

from __future__ import annotations

from typing import Any

from rest_framework.routers import DynamicRoute, Route, SimpleRouter

_ROUTES: list[Route | DynamicRoute] = [
    Route("{prefix}", {"get": "list", "post": "create"}, "{basename}s", detail=False, initkwargs={}),
    DynamicRoute("{prefix}/{url_path}", "{url_name}", detail=False, initkwargs={}),
    DynamicRoute("{prefix}/{lookup}/{url_path}", "{url_name}", detail=True, initkwargs={}),
    Route(
        "{prefix}/{lookup}",
        {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"},
        "{basename}",
        detail=True,
        initkwargs={},
    ),
]


class ManagementRouter(SimpleRouter):
    """Look-ups are path converters; `lookup_value_converter` of a viewset names its converter.

    URL names: `jobs` for the list (or the viewset's `list_name`), `job` for one object, and the `url_name` of each
    `@action`. Actions precede the detail route: a model's key can contain slashes, so `models/<key>` matches
    `<key>/usage` too.
    """

    routes = _ROUTES

    def __init__(self) -> None:
        super().__init__(trailing_slash=False, use_regex_path=False)

    def get_routes(self, viewset: Any) -> list[Route]:
        """Names the list route by `list_name`, and drops `schema`: it belongs to the method, not to each instance."""
        return [
            route._replace(
                name=viewset.list_name if route.name == "{basename}s" else route.name,
                initkwargs={name: value for name, value in route.initkwargs.items() if name != "schema"},
            )
            for route in super().get_routes(viewset)
        ]
