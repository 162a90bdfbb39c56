"""Settings of django-unfold: the look and the menu of the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may_view(label: str) -> Callable[[HttpRequest], bool]:
    app, _, model = label.partition(".")

    def may_view(request: HttpRequest) -> bool:
        view, change = (request.user.has_perm(f"{app}.{word}_{model}") for word in ("view", "change"))
        return bool(view or change)

    return may_view


def _list(title: str, label: str, icon: str) -> dict[str, Any]:
    """A menu item of a table, for accounts with the permission to view it."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{label.replace('.', '_')}_changelist"),
        "permission": _may_view(label),
    }


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


_NAVIGATION = [
    {
        "items": [
            {"title": "Overview", "icon": "space_dashboard", "link": reverse_lazy("admin:index")},
            {
                "title": "Playground",
                "icon": "forum",
                "link": reverse_lazy("console:playground"),
                "permission": lambda request: request.user.has_perm("models_app.change_registeredmodel"),
            },
        ]
    },
    _group(
        "Models",
        _list("Models", "models_app.registeredmodel", "deployed_code"),
        _list("Instances", "models_app.instance", "memory"),
        _list("Routes", "models_app.route", "alt_route"),
        _list("Providers", "models_app.provider", "hub"),
        _list("Profiles", "models_app.profilerun", "speed"),
        _list("Nodes", "models_app.node", "dns"),
    ),
    _group(
        "Activity",
        _list("Requests", "models_app.accesslog", "receipt_long"),
        _list("Jobs", "models_app.job", "pending_actions"),
        _list("Events", "models_app.event", "history"),
        _list("Audit", "models_app.auditentry", "policy"),
    ),
    _group(
        "Access",
        _list("API keys", "models_app.apikey", "key"),
        _list("Users", "auth.user", "person"),
        _list("Groups", "auth.group", "group"),
    ),
    _group(
        "For programs",
        {"title": "API documentation", "icon": "api", "link": reverse_lazy("docs")},
    ),
]

# One hue in the lightness steps of unfold's own palettes; white text on 600 has a contrast above 4.5.
_TEAL = {
    "50": "oklch(97.5% .015 195)",
    "100": "oklch(94.5% .035 195)",
    "200": "oklch(89.5% .065 195)",
    "300": "oklch(82.5% .095 195)",
    "400": "oklch(73.5% .11 195)",
    "500": "oklch(62% .105 197)",
    "600": "oklch(51.5% .09 200)",
    "700": "oklch(44.5% .076 203)",
    "800": "oklch(38% .063 205)",
    "900": "oklch(33% .052 208)",
    "950": "oklch(23% .04 212)",
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "NOA",
    "SITE_HEADER": "NOA",
    "SITE_SUBHEADER": "Language models",
    "SITE_URL": None,
    "SITE_ICON": lambda request: static("noa/logo.svg"),
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("noa/logo.svg"),
        }
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [
        lambda request: static("noa/console.css"),
        lambda request: static("noa/playground.css"),
    ],
    "SCRIPTS": [lambda request: static("noa/console.js")],
    "DASHBOARD_CALLBACK": "models_app.admin.dashboard.index.add_to_index",
    "COMMAND": {"search_callback": "models_app.admin.searching.find"},
    "COLORS": {"primary": _TEAL},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": _NAVIGATION,
    },
}
