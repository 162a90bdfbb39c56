"""A GET, also a prefetch or an embedded image, changes nothing, and a POST needs its token."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from models_app.models import Job, RegisteredModel
from tests.admin import addresses
from tests.admin.conftest import browser

pytestmark = pytest.mark.wide


def test_a_get_of_every_address_changes_nothing(console: Client, furnished: RegisteredModel, queued: list[Job]) -> None:
    before = addresses.everything_stored()
    visited = [*addresses.of_site(), *(address for _, _, address in addresses.of_tables())]
    answers = {}
    for address in visited:
        answers[address] = console.get(address).status_code
        console.head(address)
        console.get(address, {"_form_submitted": "True", "confirm": "yes", "model": str(furnished.pk)})
    # Without a running server there is no stream to open.
    assert answers.pop(reverse("console:live")) == 503
    assert {address: code for address, code in answers.items() if code >= 500} == {}
    assert addresses.everything_stored() == before
    assert queued == []


def test_every_action_was_among_them(furnished: RegisteredModel, superuser: User) -> None:
    names = {address.rstrip("/").rpartition("/")[2] for address in addresses.dialogs()}
    assert names == {
        "load",
        "unload",
        "make-current",
        "discover",
        "switch",
        "revoke",
        "test",
        "remove",
        "profile",
        "probe",
        "keep",
        "deprecate",
        "roll-back",
        "cancel",
        "baseline",
    }


def test_every_action_shows_a_dialog_that_says_what_it_will_do(console: Client, furnished: RegisteredModel) -> None:
    for address in addresses.dialogs():
        page = console.get(address)
        assert page.status_code == 200
        assert 'id="dialog"' in page.content.decode()
        assert "Submit" not in page.content.decode(), f"{address} has a button without a word"


def test_a_dialog_without_its_token_is_refused(superuser: User, furnished: RegisteredModel, queued: list[Job]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)
    before = addresses.everything_stored()
    for address in addresses.dialogs():
        assert client.post(address, {"_form_submitted": "True"}).status_code == 403
    assert addresses.everything_stored() == before
    assert queued == []


def test_a_post_without_the_form_only_shows_the_dialog(
    console: Client, furnished: RegisteredModel, queued: list[Job]
) -> None:
    before = addresses.everything_stored()
    for address in addresses.dialogs():
        assert console.post(address, {"csrfmiddlewaretoken": "x"}).status_code == 200
        assert console.post(address).status_code == 200
    assert addresses.everything_stored() == before
    assert queued == []


def test_a_stranger_sees_only_the_login(furnished: RegisteredModel) -> None:
    stranger = browser()
    for _, _, address in addresses.of_tables():
        answer = stranger.get(address)
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse("admin:login"))
