"""Staff can view and do only what their permissions allow."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse

from models_app.models import Job, RegisteredModel
from tests.admin import addresses

Staff = Callable[..., Client]


def test_staff_without_rights_see_nothing_and_can_do_nothing(
    staff: Staff, furnished: RegisteredModel, queued: list[Job]
) -> None:
    client = staff()
    before = addresses.everything_stored()
    for address in (*addresses.lists_and_pages(), *addresses.dialogs()):
        assert client.get(address).status_code == 403, address
        assert client.post(address, {"_form_submitted": "True"}).status_code == 403, address
    job = Job.objects.all()[0]
    assert client.get(reverse("admin:models_app_job_progress", args=[job.pk])).status_code == 403
    index = client.get(reverse("admin:index")).content.decode()
    assert "Your account has no permissions yet." in index
    assert furnished.key not in index
    assert "/admin/models_app/" not in index
    assert addresses.everything_stored() == before
    assert queued == []


def test_who_may_only_look_is_offered_no_action(staff: Staff, furnished: RegisteredModel) -> None:
    client = staff("view_registeredmodel", "view_route", "view_apikey")
    pages = [
        page
        for page in addresses.lists_and_pages()
        if any(f"/{table}/" in page for table in ("registeredmodel", "route", "apikey"))
    ]
    for page in pages:
        shown = client.get(page)
        assert shown.status_code == 200
        assert 'hx-target="#modal-content"' not in shown.content.decode(), page
        assert 'name="_save"' not in shown.content.decode(), page
    for address in addresses.dialogs():
        assert client.get(address).status_code == 403, address


def test_who_may_change_models_may_operate_them(staff: Staff, furnished: RegisteredModel, queued: list[Job]) -> None:
    client = staff("view_registeredmodel", "change_registeredmodel")
    address = reverse("admin:models_app_registeredmodel_unload_model", args=[furnished.pk])
    assert client.post(address, {"_form_submitted": "True"}).status_code == 302
    assert [job.actor for job in queued] == ["user:staff"]


def test_each_part_of_the_overview_is_there_for_who_may_see_it(staff: Staff, furnished: RegisteredModel) -> None:
    index = staff("view_event").get(reverse("admin:index")).content.decode()
    assert "Recent events" in index
    assert "Current model" not in index
    assert "Running jobs" not in index
