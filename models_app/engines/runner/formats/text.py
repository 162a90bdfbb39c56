"""Decodes the bytes of tokens to text that can be sent."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Emits whole characters only, and nothing that is, or could become, a stop string.

    `stop` is the first stop string that was found, else empty; text after it is dropped.
    """

    __slots__ = ("_decode", "_held", "_longest", "_stops", "stop")

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stop = ""

    @property
    def stopped(self) -> bool:
        return bool(self.stop)

    def feed(self, piece: bytes) -> str:
        """The text that became certain with these bytes."""
        text = self._decode(piece)
        if not self._stops:
            return text
        return self._cut(self._held + text)

    def finish(self) -> str:
        """The buffered rest at the end of the input. An incomplete character becomes U+FFFD."""
        if self.stopped:
            return ""
        text, self._held = self._held + self._decode(b"", True), ""
        return text

    def _cut(self, text: str) -> str:
        found = min(((place, stop) for stop in self._stops if (place := text.find(stop)) >= 0), default=None)
        if found is not None:
            (place, self.stop), self._held = found, ""
            return text[:place]
        certain = self._certain_length(text)
        self._held = text[certain:]
        return text[:certain]

    def _certain_length(self, text: str) -> int:
        """The position of the first possible beginning of a stop string at the end of `text`, or its length."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(text)
