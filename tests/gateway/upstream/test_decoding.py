"""Compressed bodies in pieces of any size."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest

from models_app.gateway.upstream import decoding
from models_app.gateway.upstream.decoding import Decoder, UndecodableBody, decoder_of

TEXT = b"".join(b'data: {"n": %d}\n\n' % number for number in range(5_000))


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "its old name, in capitals": (" X-GZIP", gzip.compress),
    "several members": ("gzip", lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])),
    "something behind it": ("gzip", lambda data: gzip.compress(data) + b"\x00\x00"),
    "expanded on the way": ("gzip", lambda data: data),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare),
}


def expanded(decoder: Decoder, *pieces: bytes) -> bytes:
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while data := decoder.take():
            assert len(data) <= decoding._MAX_PIECE
            found.append(data)
    assert decoder.is_whole
    return b"".join(found)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str) -> None:
    encoding, compress = FORMS[form]
    data = compress(TEXT)
    cuts = [0, 1, *sorted(random.Random(7).sample(range(2, len(data)), 20)), len(data)]
    pieces = [data[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    for sent in ([data], pieces):
        decoder = decoder_of(encoding)
        assert decoder is not None
        assert expanded(decoder, *sent) == TEXT


@pytest.mark.parametrize("size", [0, 1, decoding._MAX_PIECE - 1, decoding._MAX_PIECE, decoding._MAX_PIECE + 257])
def test_lengths_at_the_edge_of_a_piece(size: int) -> None:
    assert expanded(Decoder("gzip"), gzip.compress(b"x" * size)) == b"x" * size


def test_an_event_is_there_as_soon_as_it_was_sent() -> None:
    packer, decoder = zlib.compressobj(wbits=31), Decoder("gzip")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        decoder.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert decoder.take() == event
    assert not decoder.is_whole


def test_what_is_put_back_comes_first() -> None:
    decoder = Decoder("gzip")
    decoder.feed(gzip.compress(b"ab"))
    decoder.unread(decoder.take())
    assert decoder.take() == b"ab"


def test_a_bomb_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MAX_EXPANDED", 10_000_000)
    with pytest.raises(UndecodableBody):
        expanded(Decoder("gzip"), gzip.compress(b"\n" * 20_000_000))


@pytest.mark.parametrize("data", [b"\x1f\x8b" + b"x" * 50, gzip.compress(TEXT)[:50] + b"x" * 50])
def test_damage_is_noticed(data: bytes) -> None:
    with pytest.raises(UndecodableBody):
        expanded(Decoder("gzip"), data)


def test_a_cut_is_noticed() -> None:
    decoder = Decoder("gzip")
    decoder.feed(gzip.compress(TEXT)[:-1])
    while decoder.take():
        pass
    assert not decoder.is_whole


@pytest.mark.parametrize("encoding", ["identity", "", "none", "UTF-8"])
def test_these_compress_nothing(encoding: str) -> None:
    assert decoder_of(encoding) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, identity"])
def test_others_are_refused(encoding: str) -> None:
    with pytest.raises(LookupError):
        decoder_of(encoding)
