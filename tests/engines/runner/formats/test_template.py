"""Chat templates: the features of real ones, and escapes from the sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from models_app.engines.runner.formats.template import ChatTemplate, TemplateError
from tests.fakes.gguf_files import CHATML_WITH_TOOLS

HELLO = [{"role": "user", "content": "Hello"}]
PLAIN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos="<s>", eos="</s>")


def render(source: str, messages: list[dict[str, Any]] = HELLO, **more: Any) -> str:
    return template(source).render(messages, **more)


def test_it_renders_messages() -> None:
    assert render(PLAIN) == "[user] Hello\n"


def test_it_knows_what_real_templates_use() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.index > 5 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content | tojson }}{% endgeneration %}{% endfor %}"
        "{% if add_generation_prompt %}{{ eos_token }}{% endif %}{{ strftime_now('%Y') }}"
    )
    assert render(source) == f'<s>"Hello"</s>{datetime.now().year}'


def test_tojson_writes_json_and_not_html() -> None:
    messages = [{"role": "user", "content": "<ä> & 'é'"}]
    assert render("{{ messages[0].content | tojson }}", messages) == "\"<ä> & 'é'\""
    assert render('{{ {"a": 1} | tojson(indent=2) }}') == '{\n  "a": 1\n}'


def test_options_reach_the_template_but_not_its_fixed_names() -> None:
    source = "{{ enable_thinking }} {{ bos_token }}"
    assert render(source, options={"enable_thinking": False, "bos_token": "x"}) == "False <s>"


def test_it_finds_out_whether_the_template_shows_tools() -> None:
    assert template(CHATML_WITH_TOOLS).manner.tools
    assert not template(PLAIN).manner.tools
    assert not template("{% if tools %}{{ raise_exception('no tools') }}{% endif %}x").manner.tools


def test_the_refusal_of_a_template_is_its_reason() -> None:
    source = "{% if messages | length > 1 %}{{ raise_exception('Only one message!') }}{% endif %}hello"
    with pytest.raises(TemplateError, match="Only one message!"):
        render(source, HELLO * 2)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in %}", "line 1"),
        ("text\n{% endif %}", "line 2"),
        ("{{ messages | no_such_filter }}", "no_such_filter"),
        ("{{ raise_exception('never') }}", "never"),
        ("{{ messages[0].content + 5 }}", "concatenate"),
        ("{{ nothing.at.all }}", "nothing"),
        ("{{ 1 / 0 }}", "division"),
        ("{% include 'etc/passwd' %}", "loader"),
        ("{% import 'os' as os %}", "loader"),
        ("{% extends 'x' %}", "loader"),
        ("{% set x = messages.append(1) %}", "unsafe"),
        ("{% set x = messages[0].update({}) %}", "unsafe"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ ''['__class__']['__mro__'] }}", "unsafe"),
        ("{{ (''|attr('__class__')).__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
        ("{{ raise_exception.__globals__ }}{{ raise_exception.__globals__.x }}", "unsafe"),
        ("{{ self.__init__.__globals__.x }}", "unsafe"),
        ("{{ messages.__reduce__() }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format(5) }}", "unsafe"),
        ("{{ '{x.__class__.__mro__}'.format_map({'x': 5}) }}", "unsafe"),
        ("{{ ('%s' | format(lipsum.__globals__)) }}{{ lipsum.__globals__.os }}", "unsafe"),
        ("{% for i in range(999999999) %}{% endfor %}", "[Rr]ange"),
        ("{% if 1 %}" * 200 + "x" + "{% endif %}" * 200, "indentation|nested|compiled"),
        ("{{ {messages: 1} }}", "unhashable"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ '%d' | format('x') }}", "format"),
        ("{{ messages | sort(attribute='nothing.at') }}{{ 1 + '' }}", "unsupported|undefined|nothing"),
    ],
)
def test_a_template_that_cannot_work_is_refused(source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        template(source)
