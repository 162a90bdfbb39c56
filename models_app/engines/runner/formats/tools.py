"""Tool calls: their tags, and the reader that finds them in an answer.

The format is the one that most open models were trained on (Hermes, Qwen and others):

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import orjson

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in an answer: `arguments` is JSON as text."""

    id: str
    name: str
    arguments: str

    def as_dict(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


Found = str | ToolCall


class ToolCallReader:
    """Splits a streamed answer into text and calls. Text that could be the start of a call is held back.

    Invalid content between the tags is returned as text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self.calls = 0

    def feed(self, text: str) -> list[Found]:
        self._held += text
        found: list[Found] = []
        while self._step(found):
            pass
        return found

    def finish(self) -> list[Found]:
        """The rest at the end of the answer; an unclosed call counts when its JSON is complete."""
        rest, self._held = self._held, ""
        if self._inside:
            self._inside = False
            call = self._call(rest)
            return [call] if call else [OPEN + rest]
        return self._text(rest)

    def _step(self, found: list[Found]) -> bool:
        """Advance by one tag; False when more input is needed."""
        tag = CLOSE if self._inside else OPEN
        before, seen, after = self._held.partition(tag)
        if not seen:
            if not self._inside:
                keep = _overlap(self._held, OPEN)
                cut = len(self._held) - keep
                found += self._text(self._held[:cut])
                self._held = self._held[cut:]
            return False
        self._held = after
        if self._inside:
            found.append(self._call(before) or f"{OPEN}{before}{CLOSE}")
        else:
            found += self._text(before)
        self._inside = not self._inside
        return True

    def _text(self, text: str) -> list[Found]:
        # White space around calls is part of their format, not of the answer.
        if not text or (self.calls and not text.strip()):
            return []
        return [text]

    def _call(self, text: str) -> ToolCall | None:
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return None
        arguments = data.get("arguments", data.get("parameters", {}))
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        self.calls += 1
        return ToolCall(f"call_{uuid.uuid4().hex[:24]}", data["name"], arguments)


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` could be the start of `tag`."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)
