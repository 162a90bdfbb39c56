"""The vocabulary of a loaded model: text to tokens and back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest, LoadFailed
from models_app.engines.runner.llama import native

_NO_TOKEN = -1  # LLAMA_TOKEN_NULL
_PIECE_BYTES = 256  # room for one token; longer ones are rendered again with a larger buffer


class Vocabulary:
    """Tokens of one model. Thread-safe.

    `ends` are the tokens that end a generation. `piece(token)` is a token's text in an answer, empty for control
    tokens. Raises LoadFailed for special tokens outside the vocabulary: llama.cpp would abort the process at their
    first use.
    """

    def __init__(self, model: Any) -> None:
        self.pointer = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.pointer)
        if self.size <= 0:
            raise LoadFailed("The model has no vocabulary, so it cannot read text.", stage="load")
        self.bos = self._special(llama_cpp.llama_vocab_bos, "beginning-of-text")
        self.eos = self._special(llama_cpp.llama_vocab_eos, "end-of-text")
        self._special(llama_cpp.llama_vocab_eot, "end-of-turn")
        self.ends = frozenset(t for t in range(self.size) if native.is_end(self.pointer, t))
        self._pieces: list[bytes | None] = [None] * self.size
        self._longest_piece = self._longest()

    def _special(self, getter: Any, name: str) -> int | None:
        token: int = getter(self.pointer)
        if token == _NO_TOKEN:
            return None
        if not 0 <= token < self.size:
            raise LoadFailed(
                f"The file names token {token} as its {name} token, but its vocabulary has {self.size}"
                " tokens. Convert the model again.",
                stage="load",
            )
        return token

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None) -> list[int]:
        """The tokens of `text`. `add_special` adds the model's own begin and end tokens, `parse_special` parses
        control tokens that are written out in the text.

        Raises ContextLengthExceeded for a text of more than about `limit` tokens, early, and InvalidRequest for text
        that UTF-8 cannot express.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("The text contains half of a surrogate pair. Send valid Unicode.") from error
        if limit is not None:
            self._check_length(data, limit)
        return self._tokenize(data, add_special, parse_special)

    def _check_length(self, data: bytes, limit: int) -> None:
        """llama.cpp's time is quadratic for some texts (1 MB: 200 s), so growing prefixes are tokenized first, which
        bounds the time by that of a text that fits."""
        size = limit
        while size < len(data):
            # The cut can change the last tokens, never twice as many as the limit.
            found = size // self._longest_piece
            if found < limit:
                found = len(self._tokenize(data[:size], False, False)) // 2
            if found > limit:
                raise ContextLengthExceeded(
                    f"This model's maximum context length is {limit} tokens. However, the text of {len(data):,} bytes "
                    f"has more than {found} tokens. Shorten it."
                )
            size *= 2

    def _tokenize(self, data: bytes, add_special: bool, parse_special: bool) -> list[int]:
        room = len(data) // 2 + 16
        while True:
            tokens = (ctypes.c_int32 * room)()
            count: int = llama_cpp.llama_tokenize(
                self.pointer, data, len(data), tokens, room, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            room = -count

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """The text of `tokens`, control tokens written out."""
        return b"".join(self._render(self._checked(token), special=True) for token in tokens)

    def piece(self, token: int) -> bytes:
        known = self._pieces[self._checked(token)]
        if known is None:
            known = self._pieces[token] = self._render(token, special=False)
        return known

    def text(self, token: int | None) -> str:
        """A special token as a chat template writes it; empty for None."""
        if token is None:
            return ""
        return self._render(token, special=True).decode("utf-8", "replace")

    def _checked(self, token: int) -> int:
        if not 0 <= token < self.size:
            raise InvalidRequest(
                f"Token {token} is not in this model's vocabulary, which has tokens 0 to {self.size - 1}.",
                code="token_out_of_range",
            )
        return token

    def _longest(self) -> int:
        """Bytes of the longest token."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        render, pointer = native.token_to_piece, self.pointer
        lengths = (render(pointer, t, buffer, _PIECE_BYTES, 0, True) for t in range(self.size))
        return max(abs(int(length)) for length in lengths)

    def _render(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        length: int = native.token_to_piece(self.pointer, token, buffer, _PIECE_BYTES, 0, special)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = native.token_to_piece(self.pointer, token, buffer, -length, 0, special)
        return buffer.raw[:length]
