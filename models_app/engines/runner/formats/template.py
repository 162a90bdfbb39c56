"""A model's chat template: rendered under limits, with its capabilities detected.

A template is an untrusted program. The sandbox isolates it from Python's internals but does not bound time and memory,
so every rendering has a deadline (SIGALRM, hence only on the main thread) and a memory limit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models_app.domain.errors import InvalidRequest, LoadFailed
from models_app.domain.traffic.conversation import Message

logger = logging.getLogger(__name__)

# Real templates take 0.1 to 5 ms; ten thousand messages some 100 ms.
_SECONDS = 2.0
# Memory that a rendering can allocate beyond the process's current size. Real ones take some MB.
_HEADROOM = 512 * 1024 * 1024
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
    """The template did not render; the text is the reason."""


class _Refused(Exception):
    """Raised by the template itself, through `raise_exception`."""


class _OutOfTime(BaseException):
    """Not an Exception, so that no `except Exception` in between can swallow it."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks training data; for inference its body is printed as it is."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template. `supports_tools` is detected by rendering it, `supports_developer` from its text.

    Raises LoadFailed (stage `template`) when the text does not compile or cannot render the simplest conversation.
    """

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        self._fixed = {"bos_token": bos, "eos_token": eos}
        try:
            with _limits():
                self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            raise LoadFailed(
                f"The model's chat template is broken{line}: {error.message}.", stage="template"
            ) from error
        except (TemplateError, MemoryError, RecursionError) as error:
            raise LoadFailed(
                f"The model's chat template could not be compiled: {_why(error)}.", stage="template"
            ) from error
        self._check()
        self.supports_tools = self._shows_tools()
        self.supports_developer = "developer" in source

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt. Raises InvalidRequest when the template rejects the conversation or fails."""
        try:
            return self._render(messages, tools, options or {})
        except TemplateError as error:
            raise InvalidRequest(
                f"The model's chat template rejects this conversation: {error}.",
                code="template_error",
                param="messages",
            ) from error

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
    ) -> str:
        context = {
            **options,
            **self._fixed,
            "messages": messages,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            with _limits():
                return self._template.render(context)
        except (jinja2.TemplateError, _Refused, MemoryError, RecursionError) as error:
            raise TemplateError(_why(error)) from error
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            # Errors of the template's expressions for values of an unexpected type.
            raise TemplateError(_why(error)) from error

    def _check(self) -> None:
        try:
            self._render([{"role": "user", "content": "Hello"}], (), {})
        except TemplateError as error:
            raise LoadFailed(f"The model's chat template does not render: {error}.", stage="template") from error

    def _shows_tools(self) -> bool:
        try:
            shown = self._render([{"role": "user", "content": "Hello"}], [_PROBE_TOOL], {})
        except TemplateError as error:
            logger.info("the chat template does not support tools: %s", error)
            return False
        return _PROBE in shown


def _why(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"it needs more than {_HEADROOM // 1024**2} MiB"
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


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Abort the block after `_SECONDS`, or at `_HEADROOM` more memory. Main thread only."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + _HEADROOM
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lowest = min(limit for limit in (room, soft, hard) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))
    try:
        # Two levels: the alarm can still fire on the way out of the inner one.
        try:
            _alarm.set(_SECONDS)
            yield
        finally:
            _alarm.clear()
    except _OutOfTime:
        raise TemplateError(f"it takes more than {_SECONDS:g} s") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Alarm:
    """SIGALRM as an exception, only between `set` and `clear`."""

    def __init__(self) -> None:
        self._armed = False

    def set(self, seconds: float) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def clear(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            raise _OutOfTime


_alarm = _Alarm()
