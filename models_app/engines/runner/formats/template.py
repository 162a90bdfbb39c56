"""A model's chat template: compiled, and rendered for conversations.

A template is an untrusted program. The sandbox isolates it from Python's internals, but bounds neither time nor memory:
`render_child` does, in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models_app.engines.runner.formats import manners


class TemplateError(Exception):
    """The template did not compile or render; the text is the reason, without a full stop."""


class _Refused(Exception):
    """Raised by the template itself, through `raise_exception`."""


# Errors of the template's expressions for values of an unexpected type, and of the code that Jinja makes of it.
_ERRORS = (
    jinja2.TemplateError,
    _Refused,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    StopIteration,
)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks training data; for inference its body is printed as it is."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """`with_tools` is the template for conversations with tools, if the file has another one for them.

    Raises TemplateError when a text does not compile, or cannot render the simplest conversation, and MemoryError.
    """

    def __init__(self, source: str, *, bos: str, eos: str, with_tools: str = "") -> None:
        self._fixed = {"bos_token": bos, "eos_token": eos}
        self._template = _compiled(source)
        self._with_tools = _compiled(with_tools) if with_tools else self._template
        try:
            self.manner = manners.learn(self._render, (TemplateError,))
        except TemplateError as error:
            raise TemplateError(f"it does not render: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt. Raises TemplateError when the template rejects the conversation or fails, and MemoryError."""
        return self._render(manners.adapted(messages, self.manner), tools, options)

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> str:
        context = {
            **(options or {}),
            **self._fixed,
            "messages": messages,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            return (self._with_tools if tools else self._template).render(context)
        except _ERRORS as error:
            raise TemplateError(_why(error)) from error


def _compiled(source: str) -> jinja2.Template:
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"it is broken in line {error.lineno}: {_why(error)}") from error
    except _ERRORS as error:
        raise TemplateError(f"it cannot be compiled: {_why(error)}") from error


def _why(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[jinja2.ext.loopcontrols, _Generation],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """JSON in the form of training data; Jinja's own filter escapes it for HTML."""
    known = {name: options[name] for name in ("separators", "sort_keys") if name in options}
    ensure_ascii = bool(options.get("ensure_ascii", False))
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, **known)


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
