"""Lists of tables that grow with the traffic: the next page begins after the last row of this one, nothing is counted."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.http import HttpRequest
from unfold.views import ChangeList

from models_app.admin.parts.base import MachineWrittenAdmin

_BEFORE = "before"


class OlderPaginator(Paginator):
    """Takes the place of one that counts: there is one page, and a way to what is older."""

    template_name = "admin/noa/older.html"
    count = 0


class KeysetChangeList(ChangeList):
    """The newest rows, or those before the id in `before`: as fast on the millionth page as on the first."""

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
        # Equal: the page then says nothing of a number, which would be that of this page alone.
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
    """A page of such a table. Its order is that of the ids, which is that of time."""

    ordering = ("-id",)
    sortable_by = ()
    paginator = OlderPaginator
    show_full_result_count = False
    # Counts beside the filters would read the whole table once for each of them.
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList
