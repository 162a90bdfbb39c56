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

_HELLO = [{"role": "user", "content": "Hello"}]
_PROBE = "noa_probe"
_PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": _PROBE,
        "description": "Used once, to see whether the template shows tools.",
        "parameters": {"type": "object", "properties": {}},
    },
}


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
    """Raises TemplateError when the text does not compile, and MemoryError."""

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        self._fixed = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"it is broken in line {error.lineno}: {_why(error)}") from error
        except _ERRORS as error:
            raise TemplateError(f"it cannot be compiled: {_why(error)}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt. Raises TemplateError when the template rejects the conversation or fails, and MemoryError."""
        context = {
            **(options or {}),
            **self._fixed,
            "messages": messages,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            return self._template.render(context)
        except _ERRORS as error:
            raise TemplateError(_why(error)) from error

    def check(self) -> bool:
        """Whether the template shows tools. Raises TemplateError when it cannot render the simplest conversation."""
        try:
            self.render(_HELLO)
        except TemplateError as error:
            raise TemplateError(f"it does not render: {error}") from error
        try:
            return _PROBE in self.render(_HELLO, tools=[_PROBE_TOOL])
        except TemplateError:
            return False


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
