"""The grammar of a chat's answer: what its tools and its response format demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models_app.domain.errors import NoaError
from models_app.domain.traffic.conversation import Tool
from models_app.domain.traffic.inference import ChatRequest, check_schema_size
from models_app.engines.runner.formats import tools
from models_app.engines.runner.grammar import channels, lark, schema
from models_app.engines.runner.grammar.compiling import GrammarCheck, Verdict
from models_app.engines.runner.grammar.lark import Calls

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


async def grammar_of(check: GrammarCheck, chat: ChatRequest, *, several: bool) -> str | None:
    """A grammar that can be enforced; None for free text.

    A tool that is called by the model's own choice is constrained if one of the tools is strict. A tool without
    `strict` whose schema cannot be enforced has any object as its arguments.

    Raises InvalidRequest (`invalid_schema`), SchemaTooSlow, and Unavailable for a busy machine.
    """
    parts = _Parts.of(chat, several=several)
    if parts is None:
        return None
    for part in parts.tools.values():
        _check_exact(part, "tools")
    if parts.output is not None:
        _check_exact(parts.output, parts.param)
    verdict = await check.verdict(text := parts.text())
    if verdict.good:
        return text
    # Usually all can be enforced, so each alone is examined only now.
    parts = await parts.enforceable(check)
    verdict = await check.verdict(text := parts.text())
    if not verdict.good:
        raise _refusal(verdict, {}, "tools" if parts.tools else parts.param)
    return text


@dataclass(frozen=True, slots=True)
class _Part:
    """A schema as the client sent it, and prepared."""

    given: Mapping[str, Any]
    prepared: Mapping[str, Any]
    strict: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """The schemas of an answer: of tools by name, and of JSON instead of a call. `free`: of text instead."""

    tools: Mapping[str, _Part]
    output: _Part | None
    several: bool
    free: bool
    param = "response_format.json_schema.schema"

    @classmethod
    def of(cls, chat: ChatRequest, *, several: bool) -> _Parts | None:
        form, choice = chat.response_format, chat.tool_choice
        forced = choice.kind in ("required", "named")
        callable_tools = [tool for tool in chat.tools if choice.kind != "none" and choice.name in (None, tool.name)]
        free = not forced and form.kind == "text"
        if free and not any(tool.strict for tool in callable_tools):
            return None
        output = None
        if not forced and not free:
            given = _ANY_OBJECT if form.kind == "json_object" else form.schema
            output = _Part(given, schema.prepared(given, strict=form.strict), form.strict)
        return cls({tool.name: _tool(tool) for tool in callable_tools}, output, several, free)

    def text(self) -> str:
        output = None if self.output is None else self.output.prepared
        if not self.tools:
            assert output is not None
            return lark.value(output)
        named = [(name, part.prepared) for name, part in self.tools.items()]
        return lark.answer(Calls(named, (tools.OPEN, tools.CLOSE), self.several, self.free), output)

    async def enforceable(self, check: GrammarCheck) -> _Parts:
        """With coarser schemas where tools may have them. Raises the refusal of a part that may not."""
        if self.output is not None:
            _require(await check.verdict(lark.value(self.output.prepared)), self.output.given, self.param)
        named = dict(self.tools)
        for coarser in (schema.coarse, lambda _: schema.prepared(_ANY_OBJECT, strict=False)):
            for name, verdict in zip(named, await _verdicts(check, list(named.values())), strict=True):
                part = named[name]
                if part.strict or verdict.slow:
                    _require(verdict, part.given, "tools")
                if not verdict.good:
                    named[name] = replace(part, prepared=coarser(part.given))
        return replace(self, tools=named)


def _tool(tool: Tool) -> _Part:
    check_schema_size(tool.parameters, "tools")
    given = {"type": "object", **tool.parameters}
    return _Part(given, schema.prepared(given, strict=tool.strict), tool.strict)


async def _verdicts(check: GrammarCheck, parts: Sequence[_Part]) -> list[Verdict]:
    return await check.verdicts([lark.value(part.prepared) for part in parts])


def _check_exact(part: _Part, param: str) -> None:
    if part.strict and (reason := schema.inexact(part.given)):
        raise channels.unusable(reason, param)


def _require(verdict: Verdict, given: Mapping[str, Any], param: str) -> None:
    if not verdict.good:
        raise _refusal(verdict, given, param)


def _refusal(verdict: Verdict, given: Mapping[str, Any], param: str) -> NoaError:
    if verdict.slow:
        return channels.too_slow(param)
    return channels.unusable(schema.located(given, verdict.reason), param)
