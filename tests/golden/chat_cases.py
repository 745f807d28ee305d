"""Chat templates and conversations of our own, each for one thing that templates rely on."""

from __future__ import annotations

_TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Is 1 < 2 & "so" on? Ünïcode 🚀'},
    {"role": "assistant", "content": " Yes. "},
    {"role": "user", "content": "Thanks"},
]
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "zeit",
            "description": "Zeit in <Zürich> & 'mehr'",
            "parameters": {"type": "object", "properties": {"ort": {"type": "string"}}},
        },
    }
]

CASES = [
    {
        "name": "blocks are trimmed and their lines disappear",
        "template": """{{ bos_token }}
{% for message in messages %}
    {% if message.role == 'user' %}
[USER] {{ message.content }}
    {% else %}
[{{ message.role | upper }}] {{ message.content | trim }}{{ eos_token }}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
[ASSISTANT]{% endif %}
""",
        "messages": _TURNS,
    },
    {
        "name": "without a generation prompt",
        "template": "{% for m in messages %}{{ m['content'] }}|{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}",
        "messages": _TURNS,
        "add_generation_prompt": False,
    },
    {
        "name": "tojson keeps letters and markup, and indents",
        "template": "{% if tools is not none %}{{ tools | tojson }}\n{{ tools | tojson(indent=2) }}"
        "{% endif %}\n{% for m in messages %}{{ m | tojson }}{% endfor %}",
        "messages": _TURNS,
        "tools": _TOOLS,
    },
    {
        "name": "loops break and continue, know their place and their neighbours",
        "template": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% if loop.last %}{{ loop.length }}{% break %}{% endif %}"
        "{{ loop.index0 }}{{ loop.previtem.role }}>{{ loop.nextitem.role }} {% endfor %}",
        "messages": _TURNS,
    },
    {
        "name": "namespaces, macros, slices, filters and tests",
        "template": """{%- set ns = namespace(found=false, count=0) -%}
{%- macro show(m, end='.') -%}<{{ m.role }}>{{ m.content[:5] ~ end }}{%- endmacro -%}
{%- for m in messages[::-1] if m.role != 'system' -%}
{%- set ns.count = ns.count + 1 -%}
{%- if m.content is string and 'Yes' in m.content -%}{%- set ns.found = true -%}{%- endif -%}
{{ show(m, end=loop.index | string) }}
{%- endfor -%}
{{ ns.found }} {{ ns.count }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{- messages | map(attribute='role') | join(',') }} {{ {'b': 1, 'a': [true, none]} | tojson }}
{{ dict(x=1).x + range(3) | sum }} {{ '%s-%03d' % ('n', 7) }} {{ 'a{}'.format(5) }}
{{ 7 // 2 ** 1 }}
""",
        "messages": _TURNS,
    },
    {
        "name": "generation blocks are scopes",
        "template": "{% set x = 1 %}{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% generation %}{% set x = 2 %}{{ m.content }}{{ x }}{% endgeneration %}{{ x }}"
        "{% endif %}{% endfor %}",
        "messages": _TURNS,
    },
    {
        "name": "variables of the template, reasoning under its usual names",
        "template": "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}"
        "{% for m in messages %}{{ m.reasoning_content }}/{{ m.thinking }};{% endfor %}"
        "{{ documents }}{{ missing }}",
        "messages": [{"role": "assistant", "content": "x", "thinking": "why"}],
        "variables": {"enable_thinking": False},
    },
    {
        "name": "recursive loops",
        "template": "{% for m in messages recursive %}{{ m.content }}"
        "{% if m.children %}({{ loop(m.children) }}){% endif %}{% endfor %}",
        "messages": [
            {"role": "user", "content": "a", "children": [{"content": "b"}, {"content": "c"}]}
        ],
    },
]
