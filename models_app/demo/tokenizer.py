"""A byte-level BPE tokenizer as llama.cpp reads it from a GGUF file (`gpt2`): any UTF-8 text comes back unchanged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# The same splits as llama.cpp's pre-tokenizer `gpt-2`, for the characters that the corpus uses.
_CUTS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def _byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where it is printable, else a character from 256 up."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    symbols, following = [], 256
    for value in range(256):
        symbols.append(chr(value) if value in printable else chr(following))
        following += value not in printable
    return symbols


_SYMBOLS = _byte_symbols()


def _words(text: str) -> list[str]:
    return ["".join(_SYMBOLS[value] for value in cut.encode()) for cut in _CUTS.findall(text)]


class Tokenizer:
    """Ids: the 256 bytes, then one per merge, then the control tokens."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.merges = merges
        self.tokens = [*_SYMBOLS, *("".join(pair) for pair in merges), *CONTROL]
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._encode_word = lru_cache(maxsize=50_000)(self._encode_word_uncached)

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int) -> Tokenizer:
        """Merge the most frequent pair until there are `size` tokens. Digits stay single, so that sums are regular."""
        counts = Counter(word for text in texts for word in _words(text))
        # Rarer words are invented ones and mistakes: no token should be spent on them.
        words = {word: count for word, count in counts.items() if count >= 4}
        split = {word: list(word) for word in words}
        merges: list[tuple[str, str]] = []
        while len(merges) < size - 256 - len(CONTROL):
            pairs: Counter[tuple[str, str]] = Counter()
            for word, count in words.items():
                for pair in pairwise(split[word]):
                    pairs[pair] += count
            for pair in [pair for pair in pairs if any(c.isdigit() for c in "".join(pair))]:
                del pairs[pair]
            # Ties are broken by spelling: a Counter's order would make the file depend on the order of the texts.
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            merges.append(best)
            for word in words:
                split[word] = _merge(split[word], best)
        return cls(merges)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; control tokens are added by `control`."""
        return [token for word in _words(text) for token in self._encode_word(word)]

    def control(self, name: str) -> int:
        return self._ids[name]

    def _encode_word_uncached(self, word: str) -> tuple[int, ...]:
        parts = list(word)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            parts = _merge(parts, best)
        return tuple(self._ids[part] for part in parts)


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
