"""Chat templates: the features of real ones, and attacks of hostile ones."""

from __future__ import annotations

import resource
import signal
from datetime import datetime
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, LoadFailed
from models_app.engines.runner.formats.template import ChatTemplate
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
    assert template(CHATML_WITH_TOOLS).supports_tools
    assert not template(PLAIN).supports_tools
    assert not template("{% if tools %}{{ raise_exception('no tools') }}{% endif %}x").supports_tools


def test_the_refusal_of_a_template_reaches_the_client() -> None:
    source = "{% if messages | length > 1 %}{{ raise_exception('Only one message!') }}{% endif %}hello"
    with pytest.raises(InvalidRequest, match="Only one message!") as refusal:
        render(source, HELLO * 2)
    assert refusal.value.code == "template_error"


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
        ("{% set x = messages.append(1) %}", "unsafe"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
        ("{{ messages.__reduce__() }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format(5) }}", "unsafe"),
        ("{% for i in range(999999999) %}{% endfor %}", "[Rr]ange"),
        ("{{ 'a' * 10**10 }}", "MiB"),
        ("{{ 'a' | center(10**10) }}", "MiB"),
        ("{{ '%010000000000d' | format(1) }}", "MiB|ange|big|Python"),
        (
            "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "MiB",
        ),
    ],
)
def test_a_template_that_cannot_work_fails_the_load(source: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=reason) as failure:
        template(source)
    assert failure.value.stage == "template"


def test_a_template_that_takes_for_ever_fails_the_load() -> None:
    loops = "".join(f"{{% for a{n} in range(90000) %}}" for n in range(4))
    with pytest.raises(LoadFailed, match="more than 2 s") as failure:
        template(loops + "{% endfor %}" * 4)
    assert failure.value.stage == "template"


def test_time_and_memory_limits_end_with_the_rendering() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    source = "{% if messages | length > 1 %}{{ 'a' * 10**10 }}{% endif %}"
    with pytest.raises(InvalidRequest, match="MiB"):
        render(source, HELLO * 2)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
