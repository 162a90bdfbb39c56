"""Chat templates that behave as those of well-known families of models do, in words of our own."""

from __future__ import annotations

from collections.abc import Mapping

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Writes the beginning of the text itself, trims, and shows tools in the first turn of the user.
LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "<|head|>system<|end|>{{ strftime_now('%d %b %Y') }} {{ system }}<|eot|>"
    "{% for m in messages %}{% if m.role == 'tool' %}<|head|>ipython<|end|>{{ m.content }}<|eot|>"
    "{% elif m.tool_calls %}<|head|>assistant<|end|>"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "<|eot|>{% else %}<|head|>{{ m.role }}<|end|>"
    "{% if loop.first and tools %}{% for t in tools %}{{ t | tojson(indent=4) }}\n{% endfor %}{% endif %}"
    "{{ m.content | trim }}<|eot|>{% endif %}{% endfor %}<|head|>assistant<|end|>"
)
# Turns must alternate; a system message may only stand at the beginning.
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% set ns = namespace(index=0) %}{% for m in loop_messages %}"
    "{% if (m.role == 'user') != (ns.index % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, roles must alternate user/assistant/...') }}"
    "{% endif %}{% set ns.index = ns.index + 1 %}"
    "{% if m.role == 'user' %}[INST] "
    "{% if loop.first and system_message is defined %}{{ system_message }}\n\n{% endif %}"
    "{{ m.content }} [/INST]{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
# No system role, turns must alternate, a role of its own name for the model.
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "<start_of_turn>{{ role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
# Content as parts only: a string would be read character by character, and lost.
PARTS = (
    "{% macro text(content) %}{% for part in content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endmacro %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ text(m.content) }}<|end|>{% endfor %}<|assistant|>"
)
FIRST_PART = "{% for m in messages %}{{ m.role }}: {{ m['content'][0]['text'] }}\n{% endfor %}assistant:"
# Drops a system message without a word.
SILENT = (
    "{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n"
    "{% elif m.role == 'assistant' %}Assistant: {{ m.content }}\n{% endif %}{% endfor %}Assistant:"
)
# Python's own methods, slices, a thought that is switched off, and thoughts of earlier answers that are cut out.
THINKING = (
    "{% for m in messages[:] %}{% if m.role == 'assistant' and m.content.startswith('<think>') %}"
    "{% set said = m.content.split('</think>')[-1].strip() %}{% else %}{% set said = m.content.strip() %}{% endif %}"
    "<|{{ m.role }}|>{{ said }}{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
# Leaves a loop early, and marks what training reads.
PHI = (
    "{% for m in messages %}{% if loop.index0 > 100 %}{% break %}{% endif %}"
    "<|{{ m['role'] }}|>\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}<|end|>\n{% endfor %}<|assistant|>\n"
)
# Tools and their results, with ids of nine letters and digits.
TOOLS = (
    "{{ bos_token }}{% if tools %}[TOOLS]{{ tools | tojson }}[/TOOLS]{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    "[RESULT]{{ m.content }}[/RESULT]{% elif m.tool_calls %}[CALLS]{% for c in m.tool_calls %}"
    "{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}){% endfor %}"
    "{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
)
# Old ones: a fixed beginning, no roles at all but the two.
ALPACA = (
    "Below is an instruction.\n\n{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n"
    "{% elif m.role == 'assistant' %}### Response:\n{{ m.content }}\n\n{% endif %}{% endfor %}### Response:\n"
)
# Both forms of content, as most templates for images have it.
EITHER = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}<assistant>"
)

FAMILIES: Mapping[str, str] = {
    "chatml": CHATML,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "parts": PARTS,
    "first part": FIRST_PART,
    "silent": SILENT,
    "thinking": THINKING,
    "phi": PHI,
    "tools": TOOLS,
    "alpaca": ALPACA,
    "either": EITHER,
}
