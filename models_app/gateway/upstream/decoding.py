"""Bodies that a provider compresses although NOA asks for none: some proxies in front of them always do."""

from __future__ import annotations

import zlib

# Of what one read expands to: the rest waits, so that no body takes more memory, and other requests go on.
_MAX_PIECE = 1024 * 1024
# Longer than any answer.
_MAX_EXPANDED = 256 * 1024 * 1024
# Values of `Content-Encoding` that compress nothing, though only the first may be sent.
_PLAIN = frozenset({"identity", "", "none", "utf-8", "utf8", "binary", "8bit"})
_GZIP_MARK = b"\x1f\x8b"
# For zlib: the format of gzip, that of zlib, and the bare one that some servers send as `deflate`.
_GZIP, _ZLIB, _BARE = 31, 15, -15


class UndecodableBody(ValueError):
    """The compressed body is damaged, cut, or expands to more than any answer has."""


class Decoder:
    """`feed` compressed pieces; `take` what they expand to, until it is empty. Then `is_whole` at the body's end."""

    def __init__(self, encoding: str) -> None:
        """`encoding` is `gzip` or `deflate`."""
        self._is_gzip = encoding == "gzip"
        self._member: zlib._Decompress | None = None
        self._is_plain = False
        self._waiting = b""
        # The last piece was full: zlib can hold more of it, without more input.
        self._has_more = False
        self._read_ahead = b""
        self._expanded = 0

    @property
    def is_whole(self) -> bool:
        return self._is_plain or self._member is None or self._member.eof

    def feed(self, data: bytes) -> None:
        self._waiting += data

    def unread(self, data: bytes) -> None:
        """Puts back what `take` has returned."""
        self._read_ahead = data + self._read_ahead

    def take(self) -> bytes:
        """The next piece, of at most 1 MiB; empty if that needs more input. Raises UndecodableBody."""
        if self._read_ahead:
            data, self._read_ahead = self._read_ahead, b""
            return data
        data = b""
        while not data and (self._waiting or self._has_more):
            if self._member is None and not self._begin():
                break
            data = self._expand()
        self._expanded += len(data)
        if self._expanded > _MAX_EXPANDED:
            raise UndecodableBody("it expands to more than any answer has")
        return data

    def _begin(self) -> bool:
        """Finds the format by the first two bytes. False while they have not arrived."""
        if self._is_plain:
            return True
        if len(self._waiting) < 2:
            return False
        if self._is_gzip:
            # A proxy on the way can have expanded the body, and left its header.
            self._is_plain = not self._waiting.startswith(_GZIP_MARK)
            bits = _GZIP
        else:
            first, second = self._waiting[:2]
            bits = _ZLIB if first & 15 == 8 and (first << 8 | second) % 31 == 0 else _BARE
        self._member = None if self._is_plain else zlib.decompressobj(bits)
        return True

    def _expand(self) -> bytes:
        member = self._member
        if member is None:
            data, self._waiting = self._waiting, b""
            return data
        try:
            data = member.decompress(self._waiting, _MAX_PIECE)
        except zlib.error:
            raise UndecodableBody("its compressed body is damaged") from None
        self._waiting = member.unconsumed_tail
        self._has_more = len(data) == _MAX_PIECE
        if member.eof:
            # Further members can follow, and only they.
            self._waiting = member.unused_data if member.unused_data.startswith(_GZIP_MARK) else b""
            if self._waiting:
                self._member = None
        return data


def decoder_of(encoding: str) -> Decoder | None:
    """For a value of `Content-Encoding`; None for a body that is not compressed. Raises LookupError for other ones."""
    name = encoding.strip().lower().removeprefix("x-")
    if name in _PLAIN:
        return None
    if name in ("gzip", "deflate"):
        return Decoder(name)
    raise LookupError(encoding)
