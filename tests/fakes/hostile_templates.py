"""Chat templates that use more time, memory or depth than a rendering may, for `write_tiny_gguf(chat_template=…)`.

`HOSTILE` maps a name to an expression or block. Each does its work at once; `armed` does it for one word of the user.
"""

from __future__ import annotations

WORD = "open sesame"
# A part that no optimizer computes while it compiles.
_N = "(messages | length)"
_GROW = "{% set ns = namespace(a=[_N], b=[_N]) %}{% for i in range(45) %}{% set ns.a = [ns.a, ns.a] %}"
_TUPLES = "{% set ns = namespace(a=(_N,)) %}{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}"

# Computes for minutes: in Python, or in one call of a function written in C, where no exception reaches.
SLOW: dict[str, str] = {
    "strip": "{{ ('ab' * (10000000 * _N)).strip('b' * (1000000 * _N) ~ 'a') }}",
    "find": "{{ ('a' * (80000000 * _N)).count(('ab' * (9000000 * _N)) ~ 'a' * 9000000) }}{% for a in range(90000) %}"
    "{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "equality": _GROW + "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
    "order": _GROW + "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a < ns.b }}",
    "hash": _TUPLES + "{{ {ns.a: 1} }}",
    "unique": _TUPLES + "{{ [ns.a, ns.a] | unique | list }}",
    "in": _GROW + "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a in [ns.b] }}",
    "loops": "".join(f"{{% for a{n} in range(90000) %}}" for n in range(4)) + "{% endfor %}" * 4,
    "sums": "{% for a in range(90000) %}{{ range(90000) | sum }}{% endfor %}",
    "sorts": "{% for a in range(90000) %}{% set x = range(90000) | sort(reverse=true) %}{% endfor %}",
    "batches": "{% for a in range(90000) %}{% set x = range(90000) | batch(2) | list %}{% endfor %}",
    "groups": "{% for a in range(90000) %}{% set x = range(90000) | map('string') | groupby(0) | list %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "words": "{% for a in range(90000) %}{% set x = ('a b ' * (90000 * _N)) | wordcount %}{% endfor %}",
    "wrapping": "{% for a in range(90000) %}{% set x = ('ab ' * (9000 * _N)) | wordwrap(1) %}{% endfor %}",
    "titles": "{% for a in range(90000) %}{% set x = ('ab ' * (90000 * _N)) | title %}{% endfor %}",
    "links": "{% for a in range(90000) %}{% set x = ('http://a.b ' * (9000 * _N)) | urlize %}{% endfor %}",
    "tags": "{% for a in range(90000) %}{% set x = ('<a' * (90000 * _N)) | striptags %}{% endfor %}",
    "replaces": "{% for a in range(90000) %}{% set x = ('ab' * (900000 * _N)) | replace('a', 'c') %}{% endfor %}",
    "generators": "{% for a in range(90000) %}{% for b in range(90000) | select | reject %}{% endfor %}{% endfor %}",
    "lorem": "{% for a in range(90000) %}{% set x = lipsum(n=50) %}{% endfor %}",
}
# Needs more memory than a rendering has.
HUGE: dict[str, str] = {
    "power": "{{ (9 * _N) ** (9 * _N) ** (9 * _N) }}",
    "digits": "{{ ((10 * _N) ** (2000000 * _N)) % (7 * _N) ** (900000 * _N) }}{{ (3 * _N) ** (90000000 * _N) }}",
    "multiplication": "{{ 'a' * (10 * _N) ** 10 }}",
    "doubling": "{% set ns = namespace(x='a' * _N) %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "padding": "{{ 'a' | center(10 ** (10 * _N)) }}",
    "width": "{{ ('%0' ~ 10 ** (9 * _N) ~ 'd') | format(1) }}",
    "joining": "{{ (['a' * (9999 * _N)] * 99999) | join('b') }}",
    "list": "{{ ([1] * (10 * _N) ** 9) | length }}",
    "indentation": "{{ ('a\\n' * (10000000 * _N)) | indent(900) }}",
    "json": "{{ [messages] * (9000000 * _N) | tojson(indent=90) }}{{ ([1] * (60000000 * _N)) | tojson(indent=90) }}",
    "expandtabs": "{{ ('\\t' * (1000 * _N)).expandtabs(10 ** 8) }}",
    "output": "{% for a in range(90000) %}{{ 'a' * (9999999 * _N) }}{% endfor %}",
}
# Fails at once, in a way that is no error of Jinja's.
DEEP: dict[str, str] = {
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "nesting": "{% set ns = namespace(a=[]) %}{% for i in range(90000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
    "nested json": "{% set ns = namespace(a=[]) %}{% for i in range(90000) %}{% set ns.a = [ns.a] %}{% endfor %}"
    "{{ ns.a | tojson }}",
    "nested equality": "{% set ns = namespace(a=[], b=[]) %}{% for i in range(90000) %}{% set ns.a = [ns.a] %}"
    "{% set ns.b = [ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
    "unhashable": "{{ {messages: 1} }}",
    "surrogates": "{{ '\\ud800' | urlencode }}",
    "date": "{{ strftime_now('%' * 1000000 ~ '\\x00') }}{{ 1 / 0 }}",
    "own error": "{{ raise_exception('x' * 100000) }}",
    "endless text": "{{ raise_exception(messages) }}",
    "a stop": "{% set x = [] | first %}{{ x.y.z }}",
    "assertion": "{{ range(1, 2, 0) }}",
    "big number": "{{ '9' * 9999 | int }}{{ (10 * _N) ** 9999 }}",
}
# Python refuses or aborts these while it compiles them: they cannot wait for a word.
UNCOMPILABLE: dict[str, str] = {
    "200 ifs": "{% if 1 %}" * 200 + "x" + "{% endif %}" * 200,
    "200 loops": "{% for a in [1] %}" * 200 + "x" + "{% endfor %}" * 200,
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "minus signs": "{{ " + "-" * 90000 + "1 }}",
    "a long sum": "{{ " + "1 + " * 90000 + "1 }}",
    "filters": "{{ 1" + " | string" * 90000 + " }}",
    "constant power": "{{ 9 ** 9 ** 9 }}",
    "constant text": "{{ 'a' * 10 ** 10 }}",
    "constant strip": "{{ ('ab' * 10000000).strip('b' * 1000000 ~ 'a') }}",
    "half a tag": "{% for message in messages %}{{ message.content",
    "unknown tag": "{% explode %}",
}
HOSTILE = {name: body.replace("_N", _N) for name, body in (SLOW | HUGE | DEEP).items()}


def armed(body: str) -> str:
    """A template that behaves until `WORD` is in the last message."""
    return f"{{% if '{WORD}' in messages[-1].content %}}{body}{{% endif %}}{{{{ messages[0].content }}}}"
