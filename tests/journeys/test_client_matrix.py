"""Every client against every kind of model: the table in docs/clients.md, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests import markdown
from tests.journeys.clients import CLIENTS, Place, Refused, chat_tools, refusals
from tests.journeys.matrix import CALLER, EMBER, MODELS
from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

FEATURES = ("plain", "stream", "tools", "JSON schema", "vision", "embeddings")
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


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_cell_says_what_happens(cell: Cell, matrix_server: NoaServer) -> None:
    ask = CLIENTS[cell.client][FEATURES.index(cell.feature)]
    if ask is None:
        assert cell.says == NO_SUCH_CALL
        return
    model, embedder = MODELS[cell.kind]
    if model == EMBER and cell.feature == "tools":
        model = CALLER
    place = Place(matrix_server.url, matrix_server.api_key, model, embedder, echoes=cell.kind != "local")
    if cell.says == WORKS:
        with refusals():
            ask(place)
        return
    with pytest.raises(Refused) as caught, refusals():
        ask(place)
    assert f"`{caught.value.code}`" == cell.says


def test_a_model_whose_template_knows_no_tools_says_so(matrix_server: NoaServer) -> None:
    place = Place(matrix_server.url, matrix_server.api_key, EMBER, EMBER, echoes=False)
    with pytest.raises(Refused, match="tools_not_supported"), refusals():
        chat_tools(place)
