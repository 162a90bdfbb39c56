"""Error pages of the console."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse


def test_who_may_not_is_told_whom_to_ask(staff: Callable[..., Client]) -> None:
    answer = staff().get(reverse("admin:models_app_job_changelist"), headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert "Permission denied" in answer.content.decode()


def test_a_wrong_address_leads_back_to_the_overview(console: Client) -> None:
    answer = console.get(reverse("admin:index") + "nothing/here/", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert f'href="{reverse("admin:index")}"' in answer.content.decode()
