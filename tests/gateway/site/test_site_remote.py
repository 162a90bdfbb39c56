"""The whole web process in front of a provider: from the database's rows to the answer, and back to the rows."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.states import InstanceState
from models_app.models import AccessLog, Event, Instance, Provider, RegisteredModel
from models_app.services.api_keys import keys
from models_app.services.coordination import secrets
from models_app.services.runners import instances
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.site.test_site import RunningSite
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def provider(fake_openai: FakeOpenAI) -> Provider:
    """A provider with one model that is loaded."""
    provider = Provider.objects.create(
        slug="openai",
        kind=ProviderKind.OPENAI,
        base_url=fake_openai.base_url,
        secret=secrets.seal(fake_openai.key),
        allow_private_addresses=True,
    )
    model = RegisteredModel.objects.create(
        provider=provider,
        model_id="gpt-4o",
        key="openai:gpt-4o",
        price={"input": "2.5", "output": "10"},
    )
    instance = Instance.objects.create(model=model, node="local", state=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    return provider


@pytest.fixture
def client(provider: Provider) -> Iterator[openai.OpenAI]:
    _, secret = keys.create(name="test", scopes=["infer"], actor="t")
    site = RunningSite().start()
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key=secret, max_retries=0) as client:
        yield client
    site.stop()


def ask(client: openai.OpenAI) -> str:
    """The code of the error; empty when it was answered."""
    try:
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Say hello."}])
    except openai.APIStatusError as error:
        return error.code or "unknown"
    assert answer.choices[0].message.content
    return ""


def test_a_request_is_answered_and_its_cost_stored(client: openai.OpenAI) -> None:
    assert ask(client) == ""
    row = until(AccessLog.objects.first, "the access log has its row")
    assert row is not None
    assert (row.provider, row.model_key) == ("openai", "openai:gpt-4o")
    assert row.cost_usd is not None and row.cost_usd > 0


def test_an_outage_is_seen_in_the_database(client: openai.OpenAI, provider: Provider, fake_openai: FakeOpenAI) -> None:
    fake_openai.default = "bad_key"
    assert [ask(client) for _ in range(2)] == ["provider_auth_failed", "provider_unavailable"]
    until(
        lambda: Provider.objects.filter(pk=provider.pk, breaker="open").exists(),
        "the open circuit is stored",
    )
    failing = until(Event.objects.filter(name="provider-failing").first, "the event of the outage is there")
    assert failing is not None
    assert (failing.subject, failing.actor) == ("openai", "gateway")
    assert fake_openai.key not in str([failing.message, failing.before, failing.after])
