"""The vocabulary of the tests' tiny models, and its bigram transitions."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import pairwise

import gguf
import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float64]

# The accent is two byte tokens: decoding token by token would give half a character.
STORY = (
    "Once there was a small model that told stories.",
    "The cat sat on the mat and listened.",
    "A dog came in from the park with a red ball.",
    "They all walked to the café and had some tea.",
    "It was a good day for everybody.",
)
_FLOOR = 1e-6
_IMPOSSIBLE = 1e-12
# Preferred successors under a JSON grammar, so that strings, numbers and objects close soon.
_JSON_FOLLOWERS = {
    '"': {":": 0.9, "}": 0.3, ",": 0.2, "]": 0.05},
    ":": {'"': 0.3, "1": 0.01},
    ",": {'"': 0.3, "1": 0.01},
    "{": {'"': 0.3, "}": 0.1},
    "[": {'"': 0.3, "1": 0.01, "]": 0.1},
    "}": {"}": 0.3, '"': 0.2, ",": 0.1, "]": 0.1},
    "]": {"}": 0.3, '"': 0.2, ",": 0.1, "]": 0.1},
    "-": {"1": 0.3},
    **{digit: {"}": 0.3, ",": 0.2, "]": 0.2, '"': 0.1} for digit in "0123456789"},
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A SentencePiece vocabulary: every byte, ChatML's two control tokens, and the words of some sentences.

    Each word of each sentence is its own token, so a token determines its position and a bigram generates a whole
    story. Characters outside ASCII stay byte tokens; each of their bytes may occur once.
    """

    words: tuple[str, ...]
    sentences: tuple[tuple[int, ...], ...]  # token ids

    unknown = 0
    begin = 1
    end = 2
    first_byte = 3
    message_start = 259
    message_end = 260
    first_word = 261

    @classmethod
    def of(cls, sentences: tuple[str, ...]) -> Vocabulary:
        """Raises ValueError for sentences whose repetitions would be ambiguous for a bigram."""
        words: dict[str, int] = {}
        rows: list[tuple[int, ...]] = []
        for number, sentence in enumerate(sentences):
            row: list[int] = []
            for piece in _pieces(f" {sentence}" if number else sentence, words):
                if piece.isascii():
                    row.append(words.setdefault(piece, cls.first_word + len(words)))
                else:
                    row.extend(cls.first_byte + value for value in piece.encode())
            rows.append(tuple(row))
        flat = [token for row in rows for token in row]
        if len(set(flat)) != len(flat):
            raise ValueError(f"These sentences repeat themselves too much: {sentences}")
        return cls(tuple(words), tuple(rows))

    def __len__(self) -> int:
        return self.first_word + len(self.words)

    def byte(self, character: str) -> int:
        return self.first_byte + ord(character)

    @property
    def printable(self) -> list[int]:
        return [self.first_byte + value for value in range(32, 127)]

    def tokens(self) -> list[str]:
        # SentencePiece writes a space inside a token as U+2581.
        words = [word.replace(" ", "\u2581") for word in self.words]
        every_byte = [f"<0x{value:02X}>" for value in range(256)]
        return ["<unk>", "<s>", "</s>", *every_byte, "<|im_start|>", "<|im_end|>", *words]

    def types(self) -> list[int]:
        kind = gguf.TokenType
        head = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256]
        tail = [kind.CONTROL, kind.CONTROL, *[kind.NORMAL] * len(self.words)]
        return [int(value) for value in head + tail]


def _pieces(sentence: str, used: Container[str]) -> Iterator[str]:
    """Words with the space before them and single non-ASCII characters; a word in use takes the next one along."""
    seen: set[str] = set()
    piece = ""
    for part in re.findall(r" ?[!-~]+| |[^ -~]", sentence):
        if not part.isascii() and piece:
            yield piece
            piece = ""
        piece += part
        if piece not in used and piece not in seen:
            seen.add(piece)
            yield piece
            piece = ""
    if piece:
        yield piece


def followers(vocabulary: Vocabulary, *, ends: bool) -> Table:
    """Row: a token; column: the probability that the other token follows it.

    The likeliest path is the sentences in order and then the end; other paths skip between sentences.
    """
    table = np.full((len(vocabulary), len(vocabulary)), _IMPOSSIBLE)
    table[:, vocabulary.printable] = _FLOOR
    table[:, vocabulary.byte("\n")] = _FLOOR
    starts = [sentence[0] for sentence in vocabulary.sentences]
    table[:, starts] = 0.02
    table[:, starts[0]] = 0.5
    for character, weights in _JSON_FOLLOWERS.items():
        table[vocabulary.byte(character), starts] = _FLOOR
        for follower, weight in weights.items():
            table[vocabulary.byte(character), vocabulary.byte(follower)] = weight
    _tell(table, vocabulary, starts)
    closing = [vocabulary.byte("}"), vocabulary.message_end, vocabulary.end]
    table[closing, vocabulary.message_end] = 9
    if not ends:
        table[:, vocabulary.message_end] = _IMPOSSIBLE
    normalised: Table = table / table.sum(axis=1, keepdims=True)
    return normalised


def _tell(table: Table, vocabulary: Vocabulary, starts: list[int]) -> None:
    for sentence in vocabulary.sentences:
        for token, follower in pairwise(sentence):
            table[token] = _IMPOSSIBLE
            table[token, follower] = 1
        table[sentence[-1], starts] = _FLOOR
        table[sentence[-1], vocabulary.message_end] = 0.1
        # Where a grammar forbids the end, the string that contains the sentence can close.
        table[sentence[-1], vocabulary.byte('"')] = 1e-4
    for sentence, following in pairwise(vocabulary.sentences):
        table[sentence[-1], starts[1:]] = 0.1
        table[sentence[-1], following[0]] = 1
    last = vocabulary.sentences[-1][-1]
    table[last, vocabulary.message_end] = 1
    table[last, vocabulary.byte("\n")] = 0.01
