"""What a request can use at most, read from its body before it is sent. Pure.

Tokens of a prompt are known only to the server that reads it: here they are estimated, too high rather than too low,
because what is set aside and what an unfinished request costs depend on them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields

# Every count of a request is below it, so that no store of counters can overflow.
MOST_TOKENS = 2**31 - 1
# OpenAI's own limit of `n`.
MOST_CHOICES = 128
# The largest whole number that databases and other servers hold.
_MOST_NUMBER = 2**63 - 1
# Of one request with all its answers; far below the largest number of a counter.
_MOST_CLAIMED = 2**40

# An answer whose request sets no limit: usually, and at most of a budget.
USUAL_ANSWER_TOKENS = 256
LONG_ANSWER_TOKENS = 8192
# The highest price of one image at OpenAI and Anthropic is below.
IMAGE_TOKENS = 3000
# Of tokenizers' vocabularies, English has 4 to 5 bytes a token, code about 3, Chinese and Japanese 2 to 3.
_ASCII_BYTES_PER_TOKEN = 3
_OTHER_BYTES_PER_TOKEN = 2
_ASCII = bytes(range(128))


def _kind(byte: int) -> str:
    char = chr(byte)
    if byte > 127:
        return "?"
    if char.isalpha():
        return "a" if char.islower() else "A"
    return "0" if char.isdigit() else " " if char.isspace() else "."


# The kind of each byte: small and capital letters, digits, white space, other signs, and `?` for a part of a character.
_KINDS = bytes(ord(_kind(byte)) for byte in range(256))
# A longer text would take milliseconds in which no other request is served.
_READ_WHOLE = 1024 * 1024
_PARTS = 16
_PART_BYTES = 32 * 1024

# The fields that limit the length of one answer, by endpoint. Another endpoint's field is ignored by servers.
_LENGTHS: Mapping[str, tuple[str, ...]] = {
    "chat/completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {"chat/completions": ("n",), "completions": ("n", "best_of")}
_WITHOUT_ANSWER = frozenset({"embeddings", "messages/count_tokens"})
# Providers charge nothing for it.
_FREE = frozenset({"messages/count_tokens"})
# Checked at every endpoint, whether it reads them or not.
_BOUNDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), (0, MOST_TOKENS)),
    **dict.fromkeys(("n", "best_of"), (1, MOST_CHOICES)),
}


@dataclass(slots=True, eq=False)
class Claim:
    """Tokens that a request can use.

    body      the request, needed only if it has images; `raw` are its bytes
    answer    of all its answers, by its own limit; None without one
    choices   the number of its answers
    thinking  of each answer, beside the usual length: only without a limit
    is_free   the operation uses no tokens
    """

    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    answer: int | None = 0
    choices: int = 1
    thinking: int = 0
    is_free: bool = False
    _prompt: int | None = None

    @property
    def prompt(self) -> int:
        """Of all its prompts, estimated when it is first needed: most servers state it."""
        if self._prompt is None:
            self._prompt = prompt_tokens(self.body, self.raw) if self.raw else 0
        return self._prompt

    @property
    def expected(self) -> Usage:
        """What is recorded for a request whose end is not known. Without counts if it uses no tokens.

        Every request begins with it, so its prompt is estimated by its size, unless that is mostly an image's.
        """
        if self.is_free:
            return Usage()
        prompt = self.prompt if _may_have_images(self.raw) else max(1, ceil(weight(self.raw)))
        return Usage(prompt, min(self._usual_answer, MOST_TOKENS))

    @property
    def reserved(self) -> int:
        """Tokens that are set aside of a minute."""
        return min(self.prompt + self._usual_answer, _MOST_CLAIMED)

    @property
    def most(self) -> Usage:
        """What is set aside of a month's budgets."""
        answer = self.answer
        if answer is None:
            answer = self.choices * (LONG_ANSWER_TOKENS + self.thinking)
        return Usage(self.prompt, min(answer, _MOST_CLAIMED))

    @property
    def _usual_answer(self) -> int:
        return self.choices * USUAL_ANSWER_TOKENS if self.answer is None else self.answer


def claim_of(endpoint: str, body: Mapping[str, Any], raw: bytes) -> Claim:
    """`endpoint` is a path below `/v1/`, `raw` the bytes of `body`.

    Raises InvalidRequest that names the field, for a number that no server accepts.
    """
    _check_numbers(body)
    if endpoint in _FREE:
        return Claim(is_free=True)
    # A parsed body is large: it is kept no longer than necessary.
    kept = body if _may_have_images(raw) else {}
    if endpoint in _WITHOUT_ANSWER:
        return Claim(kept, raw)
    counts = [body[name] for name in _CHOICES.get(endpoint, ()) if body.get(name) is not None]
    choices = max(counts, default=1) * _prompts(endpoint, body)
    limits = [body[name] for name in _LENGTHS.get(endpoint, ()) if body.get(name) is not None]
    if limits:
        return Claim(kept, raw, min(max(limits) * choices, _MOST_CLAIMED), choices)
    return Claim(kept, raw, None, choices, _thinking(body))


def prompt_tokens(body: Mapping[str, Any], raw: bytes) -> int:
    """An estimate of the tokens of a whole request body, too high rather than too low."""
    count = 0
    if _may_have_images(raw):
        for image in _images(body):
            count += 1
            raw = raw.replace(image.encode("utf-8", "surrogatepass"), b"", 1)
    return max(1, tokens_of(raw)) + count * IMAGE_TOKENS


def _may_have_images(raw: bytes) -> bool:
    return b"base64" in raw and b"image" in raw


def tokens_of(text: bytes) -> int:
    """An estimate of the tokens of a text, too high rather than too low.

    Of a long text only parts are read, at an unpredictable place.
    """
    if len(text) <= _READ_WHOLE:
        return ceil(_tokens_of(text))
    step = len(text) // _PARTS
    first = secrets.randbelow(step - _PART_BYTES)
    parts = b"".join(text[start + first : start + first + _PART_BYTES] for start in range(0, step * _PARTS, step))
    return ceil(_tokens_of(parts) * len(text) / len(parts))


def _tokens_of(text: bytes) -> float:
    # Whole words by their size, and what tokenizers separate: code, numbers and random characters have short tokens.
    kinds = text.translate(_KINDS)
    borders = sum(kinds.count(pair) for pair in (b"aA", b"a0", b"A0", b"0a", b"0A"))
    single = kinds.count(b" ") + kinds.count(b".")
    return max(weight(text), single + borders + (kinds.count(b"A") + kinds.count(b"0")) / 2)


def weight(text: bytes) -> float:
    """As `tokens_of` by size alone, not rounded: for texts that arrive in pieces."""
    other = 0 if text.isascii() else len(text.translate(None, _ASCII))
    return (len(text) - other) / _ASCII_BYTES_PER_TOKEN + other / _OTHER_BYTES_PER_TOKEN


def _check_numbers(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        bounds = _BOUNDS.get(name)
        if bounds is not None:
            Fields(body).integer(name, *bounds)
        elif type(value) in (int, float) and not -_MOST_NUMBER <= value <= _MOST_NUMBER:
            raise InvalidRequest(
                f"'{name[:80]}' is too large a number: use one between -2^63 and 2^63.",
                code="number_too_large",
                param=name[:80],
            )


def _prompts(endpoint: str, body: Mapping[str, Any]) -> int:
    """The number of prompts: more than one only for a list of texts or of token id lists."""
    prompt = body.get("prompt") if endpoint == "completions" else None
    several = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], str | list)
    return len(prompt) if several and isinstance(prompt, list) else 1


def _thinking(body: Mapping[str, Any]) -> int:
    """The thinking budget that comes on top of a provider's default length."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return min(budget, MOST_TOKENS) if type(budget) is int and budget > 0 else 0


def _images(body: Mapping[str, Any]) -> Iterator[str]:
    """The images in a body, whose tokens do not depend on their bytes."""
    open_values: list[Any] = [body]
    while open_values:
        value = open_values.pop()
        if isinstance(value, list):
            open_values += value
        elif isinstance(value, dict):
            yield from _image(value)
            open_values += value.values()


def _image(value: Mapping[str, Any]) -> Iterator[str]:
    media = value.get("media_type")
    if isinstance(media, str) and media.startswith("image/") and isinstance(value.get("data"), str):
        yield value["data"]
    for name in ("url", "image_url"):
        url = value.get(name)
        if isinstance(url, str) and url.startswith("data:image/"):
            yield url
