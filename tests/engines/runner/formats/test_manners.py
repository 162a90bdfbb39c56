"""Every text of a conversation reaches the model, whatever its template takes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from models_app.engines.runner.formats.manners import Manner
from models_app.engines.runner.formats.template import ChatTemplate, TemplateError
from tests.engines.runner.formats import families
from tests.engines.runner.formats.families import FAMILIES

ROLES = ("system", "user", "assistant")
# What agents send: every order of up to four turns that ends with the user's.
ORDERS = [(*before, "user") for count in range(4) for before in itertools.product(ROLES, repeat=count)]
MANNERS = {
    "chatml": Manner(),
    "llama": Manner(tools=True),
    "mistral": Manner(system="first", merges=True),
    "gemma": Manner(system="never", merges=True),
    "parts": Manner(parts=True),
    "first part": Manner(parts=True),
    "silent": Manner(system="never"),
    "thinking": Manner(),
    "phi": Manner(),
    "tools": Manner(tools=True),
    "alpaca": Manner(),
    "either": Manner(),
}


def template(source: str, **more: Any) -> ChatTemplate:
    return ChatTemplate(source, bos="<s>", eos="</s>", **more)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_manner_of_a_family_is_found(name: str) -> None:
    found = template(FAMILIES[name]).manner
    assert found == MANNERS[name]
    assert not found.notes


@pytest.mark.parametrize("name", FAMILIES)
def test_no_text_is_lost_in_any_order_of_turns(name: str) -> None:
    made = template(FAMILIES[name])
    for order in ORDERS:
        # A turn of the assistant before all of the user's is refused. A system message can become one of the user's.
        begins = order if made.manner.system == "never" else [role for role in order if role != "system"]
        if made.manner.merges and begins[0] == "assistant":
            continue
        texts = [f"text {number} é🇩🇪" for number in range(len(order))]
        messages = [{"role": role, "content": text} for role, text in zip(order, texts, strict=True)]
        prompt = made.render(messages)
        assert all(prompt.count(text) == 1 for text in texts), (order, prompt)
        places = [prompt.index(text) for text in texts]
        assert places == sorted(places), (order, prompt)


def test_a_refusal_that_no_merging_avoids_has_the_templates_words() -> None:
    made = template(families.MISTRAL)
    with pytest.raises(TemplateError, match="roles must alternate"):
        made.render([{"role": "assistant", "content": "I begin."}, {"role": "user", "content": "No."}])


def test_calls_and_results_reach_the_model() -> None:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "look_up", "arguments": {"word": "tea"}}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "a drink"},
    ]
    for source in (families.LLAMA, families.TOOLS):
        prompt = template(source).render(messages, tools=[{"type": "function", "function": {"name": "look_up"}}])
        assert all(word in prompt for word in ("look_up", "tea", "a drink"))


def test_turns_that_are_merged_keep_their_calls() -> None:
    names = ("one", "two")
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": {}}} for name in names]
    source = (
        "{% for m in messages %}{% if loop.previtem and loop.previtem.role == m.role %}{{ raise_exception('no') }}"
        "{% endif %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<{{ c.function.name }}>{% endfor %};{% endfor %}"
    )
    said: list[dict[str, Any]] = [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls]
    assert template(source).render([{"role": "user", "content": "Hi"}, *said]) == "Hi;<one><two>;"


@pytest.mark.parametrize(
    ("source", "lost"),
    [
        ("Hello.", ("user",)),
        ("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", ("assistant",)),
        (
            "{{ tools | tojson if tools }}{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}",
            ("tool",),
        ),
        # The last turn alone.
        ("{{ messages[-1].content }}", ("assistant",)),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_template_leaves_out_in_every_form_is_said(source: str, lost: tuple[str, ...]) -> None:
    found = template(source).manner
    assert found.lost == lost
    assert len(found.notes) == len(lost)


def test_a_file_can_have_another_template_for_tools() -> None:
    made = template("{{ messages[0].content }}", with_tools="{{ tools[0].function.name }} {{ messages[0].content }}")
    hello = [{"role": "user", "content": "Hi"}]
    assert made.manner.tools
    assert made.render(hello) == "Hi"
    assert made.render(hello, tools=[{"type": "function", "function": {"name": "f"}}]) == "f Hi"
