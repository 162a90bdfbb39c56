"""Every client against every kind of model: the table in docs/clients.md, cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import markdown
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.gguf_files import write_tiny_gguf
from tests.fakes.openai_server import FakeOpenAI
from tests.journeys.clients import CLIENTS, Place, Refused, chat_tools, refusals
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

FEATURES = ("plain", "stream", "tools", "JSON schema", "vision", "embeddings")
EMBER = "llama.cpp:noa-demo-ember"
# A model whose chat template supports tools, unlike that of the demo model.
CALLER = "llama.cpp:caller"
# The models of each row, those for embeddings second.
MODELS = {
    "local": (EMBER, EMBER),
    "OpenAI-compatible": ("openai:gpt-4o", "openai:text-embedding-3-small"),
    "Anthropic": ("anthropic:claude-haiku-4-5-20251001", "anthropic:claude-haiku-4-5-20251001"),
}
WORKS = "yes"
NO_SUCH_CALL = "–"


@dataclass(frozen=True)
class Cell:
    client: str
    kind: str
    feature: str
    says: str

    def __str__(self) -> str:
        return f"{self.client.replace('`', '')} / {self.kind} / {self.feature}"


def cells() -> list[Cell]:
    """The table, as the documentation has it."""
    table = list(markdown.rows(markdown.page("docs/clients.md").section("What works")))
    assert tuple(table[0][2:]) == FEATURES
    return [
        Cell(row[0], row[1], feature, says)
        for row in table[1:]
        for feature, says in zip(FEATURES, row[2:], strict=True)
    ]


CELLS = cells()


def test_the_table_has_every_client_and_every_kind_of_model_once() -> None:
    rows = [(cell.client, cell.kind) for cell in CELLS[:: len(FEATURES)]]
    assert rows == [(client, kind) for client in CLIENTS for kind in MODELS]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """With the demo model and the models of a fake OpenAI and a fake Anthropic, all of them loaded."""
    with FakeOpenAI() as openai, FakeAnthropic() as anthropic:
        providers = [
            {
                "slug": kind,
                "kind": kind,
                "base_url": fake.base_url,
                "api_key": fake.key,
                "allow_private_addresses": True,
            }
            for kind, fake in (("openai", openai), ("anthropic", anthropic))
        ]
        folder = tmp_path_factory.mktemp("matrix")
        environment = {"NOA_PROVIDERS": json.dumps(providers), "NOA_MODELS_DIR": str(folder)}
        write_tiny_gguf(folder / "caller.gguf")
        running = NoaServer(folder / "data", environment=environment)
        try:
            running.start()
            assert running.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
            for key in {CALLER, *(key for keys in MODELS.values() for key in keys)}:
                loaded = running.api("POST", "/api/v1/models/load?wait=60", {"key": key})
                assert loaded[0] == 200, loaded
            yield running
            running.stop()
        finally:
            running.kill()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_cell_says_what_happens(cell: Cell, server: NoaServer) -> None:
    ask = CLIENTS[cell.client][FEATURES.index(cell.feature)]
    if ask is None:
        assert cell.says == NO_SUCH_CALL
        return
    model, embedder = MODELS[cell.kind]
    if model == EMBER and cell.feature == "tools":
        model = CALLER
    place = Place(server.url, server.api_key, model, embedder, echoes=cell.kind != "local")
    if cell.says == WORKS:
        with refusals():
            ask(place)
        return
    with pytest.raises(Refused) as caught, refusals():
        ask(place)
    assert f"`{caught.value.code}`" == cell.says


def test_a_model_whose_template_knows_no_tools_says_so(server: NoaServer) -> None:
    place = Place(server.url, server.api_key, EMBER, EMBER, echoes=False)
    with pytest.raises(Refused, match="tools_not_supported"), refusals():
        chat_tools(place)
