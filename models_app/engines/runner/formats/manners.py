"""How a chat template wants its conversations: found out with probes, so that every text reaches the model.

Templates differ in what they take: a list of parts as content, a system message nowhere or only at the beginning, turns
that must alternate. What a template does not take is lost without an error, or refuses every conversation of an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
# Renders messages with tools; raises an error for a conversation that the template refuses.
Render = Callable[[Sequence[Message], Sequence[Mapping[str, Any]]], str]

# Words that no template has, in each place of a conversation.
_USER, _AGAIN, _SYSTEM, _ASSISTANT, _RESULT = (
    f"Noa{word}Word" for word in ("User", "Again", "System", "Reply", "Found")
)
_TOOL_NAME = "noa_probe"
_TOOL = {
    "type": "function",
    "function": {
        "name": _TOOL_NAME,
        "description": "Used once, to see whether the template shows tools.",
        "parameters": {"type": "object", "properties": {}},
    },
}
# Nine letters and digits: the only ids that Mistral's templates take.
_CALL = {"id": "noaprobe1", "type": "function", "function": {"name": _TOOL_NAME, "arguments": {}}}


@dataclass(frozen=True, slots=True)
class Manner:
    """`system` is where a system message may stand: `anywhere`, `first` or `never`.

    parts   content is a list of parts, not a string
    merges  two turns of one role in a row must be one
    tools   the template shows tools
    lost    the roles of which the template leaves out the text, however it is given
    """

    parts: bool = False
    system: str = "anywhere"
    merges: bool = False
    tools: bool = False
    lost: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is lost."""
        return tuple(_LOSSES[role] for role in self.lost)


_LOSSES = {
    "user": "The chat template leaves out what the user writes, so the model cannot chat.",
    "assistant": "The chat template leaves out the model's earlier answers.",
    "tool": "The chat template leaves out the results of tools.",
}


def learn(render: Render, errors: tuple[type[BaseException], ...]) -> Manner:
    """The manner of a template. Raises the template's error if it refuses the simplest conversation in every form."""

    def rendered(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str | None:
        try:
            return render(messages, tools)
        except errors:
            return None

    def shows(text: str | None, *words: str) -> bool:
        return text is not None and all(word in text for word in words)

    hello, reply = _turn("user", _USER), _turn("assistant", _ASSISTANT)
    system, again = _turn("system", _SYSTEM), _turn("user", _AGAIN)
    given = next((parts for parts in (False, True) if shows(rendered(_formed([hello], parts)), _USER)), None)
    if given is None:
        render([hello], ())
        return Manner(lost=("user",))

    def conversed(*messages: Message) -> str | None:
        return rendered(_formed(messages, given))

    at = "never"
    if shows(conversed(system, hello), _SYSTEM, _USER):
        later = shows(conversed(hello, reply, system, again), _USER, _SYSTEM, _AGAIN)
        at = "anywhere" if later else "first"
    two = shows(conversed(hello, again), _USER, _AGAIN)
    more = _turn("assistant", _AGAIN)
    merges = not (two and shows(conversed(hello, reply, more, hello), _ASSISTANT, _AGAIN))
    # A refusal is no loss: it has a reason, which the client gets.
    lost = [] if shows(answered := conversed(hello, reply, again), _ASSISTANT) or answered is None else ["assistant"]
    tools = shows(rendered(_formed([hello], given), [_TOOL]), _TOOL_NAME, _USER)
    call = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    result = {"role": "tool", "name": _TOOL_NAME, "tool_call_id": _CALL["id"], "content": _RESULT}
    with_result = rendered(_formed([hello, call, result], given), [_TOOL]) if tools else None
    if with_result is not None and _RESULT not in with_result:
        lost.append("tool")
    return Manner(given, at, merges, tools, tuple(lost))


def adapted(messages: Sequence[Message], manner: Manner) -> list[Message]:
    """The conversation as the template takes it; no text is left out."""
    found = _placed(messages, manner.system) if manner.system != "anywhere" else list(messages)
    if manner.merges:
        found = _merged(found)
    return _formed(found, manner.parts)


def _turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _formed(messages: Sequence[Message], parts: bool) -> list[Message]:
    if not parts:
        return list(messages)
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


def _placed(messages: Sequence[Message], at: str) -> list[Message]:
    """With the system messages that may not stand where they are at the beginning of the next turn of the user, or as
    a turn of the user where the assistant's is next."""
    found: list[Message] = []
    held: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "system" and not (at == "first" and number == 0):
            held.append(message["content"])
        elif message["role"] == "user" and held:
            texts = [text for text in (*held, message["content"]) if text]
            found.append({**message, "content": "\n\n".join(texts)})
            held = []
        else:
            if held and message["role"] == "assistant":
                found.append(_turn("user", "\n\n".join(held)))
                held = []
            found.append(message)
    return [*found, _turn("user", "\n\n".join(held))] if held else found


def _merged(messages: Sequence[Message]) -> list[Message]:
    """With one turn for several of the user, or of the assistant, in a row."""
    found: list[Message] = []
    for message in messages:
        last = found[-1] if found else None
        if last is None or last["role"] != message["role"] or message["role"] not in ("user", "assistant"):
            found.append(message)
            continue
        texts = [text for text in (last["content"], message["content"]) if text]
        calls = [*last.get("tool_calls", ()), *message.get("tool_calls", ())]
        found[-1] = {**last, "content": "\n\n".join(texts)} | ({"tool_calls": calls} if calls else {})
    return found
