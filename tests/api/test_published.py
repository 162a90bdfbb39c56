"""`/api/schema` costs nothing after the first request."""

from __future__ import annotations

import gzip
from typing import Any
from unittest import mock

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from models_app.api import published

CLIENT = Client()


def get(**headers: str) -> Any:
    return CLIENT.get("/api/schema", headers=headers)


def test_it_is_made_once_for_all_forms() -> None:
    with (
        mock.patch.dict(published._documents, clear=True),
        mock.patch.object(SchemaGenerator, "get_schema", autospec=True, side_effect=SchemaGenerator.get_schema) as made,
    ):
        for accept in ("*/*", "application/json", "application/vnd.oai.openapi+json", "text/html", "nonsense"):
            for _ in range(3):
                assert get(Accept=accept).status_code == 200
        CLIENT.head("/api/schema")
        CLIENT.get("/api/schema?format=json&lang=de&anything=1")
        assert made.call_count == 1


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
def test_a_client_that_has_it_receives_no_body(accept: str) -> None:
    first = get(Accept=accept)
    again = get(Accept=accept, **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert get(Accept=accept, **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
def test_it_is_sent_compressed_where_the_client_can_read_that(accept: str) -> None:
    plain, packed = get(Accept=accept), get(Accept=accept, **{"Accept-Encoding": "br, gzip"})
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < len(plain.content) / 4
    assert packed["ETag"] != plain["ETag"]
    assert "Accept-Encoding" in packed["Vary"]


def test_the_format_can_be_named_in_the_address() -> None:
    assert CLIENT.get("/api/schema?format=json").json()["openapi"]
    assert CLIENT.get("/api/schema?format=yaml").content.startswith(b"openapi:")
