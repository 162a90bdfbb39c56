"""Every broken file gives an error message, never a crash, a hang or a wrong answer."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from models_app.domain.catalog.gguf import GgufMetadata, RawHeader, judge
from models_app.domain.errors import ModelFileError
from models_app.engines import gguf, gguf_header
from tests.fakes import broken_gguf
from tests.fakes.broken_gguf import BROKEN, WHOLE

pytestmark = pytest.mark.wide

# Enough to cover each kind of field; a scan child for every one of them would take most of a minute.
_MUTATIONS_IN_PROCESS = 2000
_MUTATIONS_IN_CHILDREN = 20


@pytest.mark.parametrize("kind", BROKEN)
def test_it_refuses_a_file_with(tmp_path: Path, kind: str) -> None:
    path = broken_gguf.write_broken_gguf(tmp_path / "m.gguf", kind)
    with pytest.raises(ModelFileError) as refused:
        gguf.inspect(path, roots=[tmp_path])
    assert BROKEN[kind][1] in refused.value.message
    assert refused.value.code == "model_file_invalid"


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_the_reader_refuses_every_truncation(length: int) -> None:
    with pytest.raises(gguf_header.HeaderError):
        gguf_header.read_header(io.BytesIO(WHOLE[:length]), length)


def test_the_reader_notices_a_file_that_shrinks() -> None:
    with pytest.raises(gguf_header.HeaderError, match="became shorter"):
        gguf_header.read_header(io.BytesIO(WHOLE[:100]), len(WHOLE))


def _mutated(seed: int) -> bytes:
    """One to four random changes: bytes, huge numbers, cuts, repeated and inserted pieces."""
    draw = random.Random(seed)
    data = bytearray(WHOLE)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data))
        kind = draw.randrange(5)
        if kind == 0:
            data[place] = draw.randrange(256)
        elif kind == 1:
            width = draw.choice((4, 8))
            extreme = draw.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 10**6))
            data[place : place + width] = (extreme % 256**width).to_bytes(width, "little")
        elif kind == 2:
            del data[place : place + draw.randint(1, 40)]
        elif kind == 3:
            data[place:place] = data[place : place + draw.randint(1, 40)]
        else:
            data[place:place] = draw.randbytes(draw.randint(1, 16))
        data = data or bytearray(1)
    return bytes(data)


def test_every_mutation_is_read_and_judged_or_refused() -> None:
    refused = 0
    for seed in range(_MUTATIONS_IN_PROCESS):
        data = _mutated(seed)
        try:
            header = gguf_header.read_header(io.BytesIO(data), len(data))
            judge(RawHeader(**vars(header)), size_bytes=len(data), sha256="")
        except (gguf_header.HeaderError, ModelFileError):
            refused += 1
    assert 0 < refused < _MUTATIONS_IN_PROCESS


@pytest.mark.parametrize("seed", range(_MUTATIONS_IN_CHILDREN))
def test_a_mutated_file_gives_metadata_or_a_refusal(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(_mutated(10_000 + seed))
    try:
        assert isinstance(gguf.inspect(path, roots=[tmp_path]), GgufMetadata)
    except ModelFileError as error:
        assert error.message
