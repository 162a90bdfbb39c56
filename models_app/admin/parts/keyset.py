"""Keyset pagination for tables that grow with the traffic: no counting, no offset."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.http import HttpRequest
from unfold.views import ChangeList

from models_app.admin.parts.base import MachineWrittenAdmin

_BEFORE = "before"


class OlderPaginator(Paginator):
    """Replaces the counting paginator: one page, and a link to older rows."""

    template_name = "admin/noa/older.html"
    count = 0


class KeysetChangeList(ChangeList):
    """The newest rows, or those before the id in `before`; every page costs the same."""

    def get_filters_params(self, params: Any = None) -> Any:
        found = super().get_filters_params(params)
        found.pop(_BEFORE, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        before = request.GET.get(_BEFORE, "")
        rows = self.queryset
        if before.isascii() and before.isdigit() and len(before) < 19:
            rows = rows.filter(pk__lt=int(before))
        found = list(rows[: self.list_per_page + 1])
        self.result_list = found[: self.list_per_page]
        self.result_count = len(self.result_list)
        # Equal counts hide the total, which would be that of this page only.
        self.full_result_count = self.result_count
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.multi_page = self.can_show_all = False
        self.paginator = self.model_admin.get_paginator(request, self.result_list, self.list_per_page)
        self.page_num = 1
        self.is_newest = not before
        self.newest_url = self.get_query_string(remove=[_BEFORE])
        self.older_url = (
            self.get_query_string({_BEFORE: self.result_list[-1].pk}, remove=[_BEFORE])
            if len(found) > self.list_per_page
            else ""
        )


class KeysetAdmin(MachineWrittenAdmin):
    """An admin with keyset pagination, ordered by id, which is the order of time."""

    ordering = ("-id",)
    sortable_by = ()
    paginator = OlderPaginator
    show_full_result_count = False
    # Facet counts would scan the whole table once for each filter.
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList
