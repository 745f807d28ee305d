"""Chat templates: rendered as transformers does, bounded, and failing with a typed error."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.text import metadata
from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.text import Tokenizer, chat

GOLDEN = Path(__file__).parents[1] / "golden" / "text" / "chats.json"
USER = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "case", json.loads(GOLDEN.read_text(encoding="utf-8")), ids=lambda case: case["name"]
)
def test_a_template_renders_as_in_transformers(case):
    rendered = chat.render(
        case["template"],
        case["messages"],
        tools=case.get("tools"),
        add_generation_prompt=case.get("add_generation_prompt", True),
        bos="<s>",
        eos="</s>",
        **case.get("variables", {}),
    )
    assert rendered == case["rendered"]


def test_the_date_is_the_present_or_what_was_given():
    template = "{{ strftime_now('%d %b %Y') }}"
    assert chat.render(template, [], now=datetime(2026, 2, 3)) == "03 Feb 2026"
    assert chat.render("{{ strftime_now('%Y') }}", []) == str(datetime.now().year)


def test_the_default_template_is_chatml():
    template = Tokenizer.from_gguf(metadata.bpe()).chat_template
    turns = [*USER, {"role": "assistant", "content": "yo"}]
    assert chat.render(template, turns) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_template_without_bos_token_sees_it_undefined():
    assert chat.render("{{ bos_token is defined }}", USER) == "False"


def test_a_refusal_has_the_words_of_the_template():
    template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidRequestError, match="chat template says: roles must alternate"):
        chat.render(template, USER)


@pytest.mark.parametrize(
    "template",
    ["{% for t in tools %}{% endfor %}", "{{ missing.name }}", "{{ 'a' + 1 }}", "{{ 1 // 0 }}"],
)
def test_a_template_that_fails_on_a_conversation_suggests_raw(template):
    with pytest.raises(InvalidRequestError, match="failed on this conversation.*--raw"):
        chat.render(template, USER)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{% if %}", "tokenizer.chat_template, line 2"),
        ("{% endfor %}", "line 1"),
        ("{{ x | no_such_filter }}", "no_such_filter"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "nested"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "recursion"),
    ],
    ids=["syntax", "unbalanced", "filter", "blocks", "parentheses"],
)
def test_what_is_no_template_is_a_format_error(template, message):
    with pytest.raises(ModelFormatError, match=message):
        chat.render(template, USER)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(__class__=1) }}",
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ raise_exception.__globals__ }}{{ raise_exception.__globals__['json'] }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ ('{0.__class__}' | format)(1) }}",
        "{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_a_template_cannot_reach_into_the_interpreter(template):
    with pytest.raises((ModelFormatError, InvalidRequestError)):
        chat.render(template, USER)


LOOP = "{% for a in range(90000) %}"
DOUBLE = "{% set ns = namespace(s='ab') %}{% for i in range(60) %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOP * 4 + "{% endfor %}" * 4,
        LOOP + "{% if range(90000) | sum %}{% endif %}{% endfor %}",
        LOOP + "{% for b in range(90000) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% for m in [0, 0] recursive %}{% if loop.depth < 60 %}{{ loop([0, 0]) }}{% endif %}"
        "{% endfor %}",
        DOUBLE + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
        DOUBLE + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        DOUBLE + "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
        DOUBLE + "{% set ns.s = [ns.s] * 1000000000000 %}{% endfor %}",
        "{{ 'a' * 1000000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ '%1000000000000d' % 1 }}",
        "{{ '{:1000000000000}'.format(1) }}",
        "{{ 'a'.ljust(1000000000000) }}",
        "{{ range(1000000000000) }}",
        "{{ 'a' | center(1000000000000) }}",
        "{{ 'a' | indent(1000000000000) }}",
        "{{ [1] | slice(1000000000000) | list }}",
        "{{ 1.5 | round(1000000000000, 'ceil') }}",
        "{{ '%1000000000000d' | format(1) }}",
        "{{ messages | tojson(indent=1000000000000) }}",
        "{% set a = 'a' * 100000 %}{{ a | replace('a', a) }}",
        "{% set a = 'a' * 100000 %}{{ a.replace('a', a) }}",
        "{% set a = 'a' * 100000 %}{{ a.join([1] * 100000) }}",
        "{% set a = 'a' * 100000 %}{{ ([1] * 100000) | join(a) }}",
    ],
)
def test_a_runaway_template_stops(template):
    with pytest.raises(ModelFormatError, match="tokenizer.chat_template"):
        chat.render(template, USER)


def test_ten_thousand_messages_render():
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert chat.render(template, USER * 10_000) == "hi" * 10_000


def test_renderings_count_apart(monkeypatch):
    monkeypatch.setattr("zerostall.text.sandbox.MAX_TURNS", 250)
    template = "{% for a in range(100) %}{% endfor %}x"
    assert [chat.render(template, USER) for _ in range(3)] == ["x", "x", "x"]
    with pytest.raises(ModelFormatError, match="more than 250 loop turns"):
        chat.render(template * 2, USER)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("hi", "a message is a str"),
        (None, "a message is a NoneType"),
        ({"role": "user", "content": object()}, "messages: a value is of type object"),
    ],
)
def test_messages_of_a_wrong_kind_are_refused(message, told):
    with pytest.raises(InvalidRequestError, match=told):
        chat.render("{{ messages }}", [message])


def nested(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("levels", [100, 300, 600, 20_000])
@pytest.mark.parametrize("field", ["messages", "tools", "documents", "variables"])
def test_a_value_nested_too_deep_is_refused_by_the_name_of_its_field(field, levels):
    deep = nested(levels)
    given = {
        "messages": {"messages": [{**USER[0], "extra": deep}]},
        "variables": {"style": [deep]},
    }.get(field, {field: [deep]})
    with pytest.raises(InvalidRequestError, match=f"^{field}: a value is nested deeper than 100"):
        chat.render("x", **{"messages": USER} | given)


def test_a_value_nested_as_deep_as_is_allowed_can_be_printed():
    template = "{{ style | tojson(indent=1) }}"
    assert json.loads(chat.render(template, USER, style=nested(100))) == nested(100)


CALLS = "{% macro show(tool) %}{{ tool.name }}{% endmacro %}{% for t in tools %}{{ show(t) }}"
CALLED = [
    (CALLS + "{% endfor %}", {"tools": [{"name": "f"}] * 100}, "more than 250 loop turns"),
    ("{{ namespace([[messages[0].content, 1]]) }}", {"content": "__class__"}, "cannot hold"),
    ("{{ messages[0].content % 1 }}", {"content": "%1000000000d"}, "too wide"),
    ("{{ 10.0 ** messages[0].content | length }}", {"content": "x" * 400}, "out of range"),
    ("{{ messages[0].content * 2 ** 24 }}", {"content": "xy"}, "longer than"),
]


@pytest.mark.parametrize(("template", "given", "told"), CALLED)
def test_what_a_conversation_makes_a_template_do_is_the_conversations_fault(
    template, given, told, monkeypatch
):
    monkeypatch.setattr("zerostall.text.sandbox.MAX_TURNS", 250)
    messages = [USER[0] | {key: value for key, value in given.items() if key == "content"}]
    with pytest.raises(InvalidRequestError, match=f"stopped at this conversation: .*{told}"):
        chat.render(template, messages, tools=given.get("tools"))


@pytest.mark.parametrize(
    ("template", "message"),
    [("a\n{% if %}", "no chat template: line 2: "), ("{{ x | none_such }}", "none_such")],
)
def test_a_template_can_be_checked_before_there_is_a_conversation(template, message):
    with pytest.raises(InvalidRequestError, match=message):
        chat.check_template(template)


def test_a_template_that_is_one_passes_the_check():
    chat.check_template("{{ raise_exception('this is for a conversation') }}")
