"""Reasoning and calls of tools are told from content, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.bodies import cut_anywhere
from tests.serve.merged import ToolCall, content, merge, reasoning
from zerostall.serve.calls.objects import parse_call
from zerostall.serve.calls.styles import Calling
from zerostall.serve.output import OutputParser

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
ADD = ToolCall("add", '{"a": 1}')


def parse(pieces, *, thinking=False, tools=True):
    return merge(OutputParser(thinking=thinking, calling=Calling() if tools else None), pieces)


ANALYSIS = "<|channel|>analysis<|message|>hm\n<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
CALLING = "<|channel|>commentary to=functions.add <|constrain|>json<|message|>"


CASES = [
    ("plain", " Hello  \n", {}, [content(" Hello  \n")]),
    ("thought", "<think>\nhm\n</think>\n\nYes ", {}, [reasoning("hm"), content("Yes ")]),
    ("opened", "hm</think>Yes", {"thinking": True}, [reasoning("hm"), content("Yes")]),
    ("unfinished thought", "<think>hm ", {}, [reasoning("hm")]),
    ("empty thought", "<think>\n\n</think>\n\nYes", {}, [content("Yes")]),
    ("late thought", "a <think>b</think>", {}, [content("a <think>b</think>")]),
    ("half a tag", " <thi", {}, [content(" <thi")]),
    ("call", CALL, {}, [ADD]),
    ("calls", f"Let me.\n{CALL}\n{CALL}\n", {}, [content("Let me."), ADD, ADD]),
    ("call after thought", f"<think>x</think>\n{CALL}", {}, [reasoning("x"), ADD]),
    ("call in thought", f"<think>{CALL}</think>", {}, [reasoning(CALL)]),
    ("no tools", f"a {CALL} ", {"tools": False}, [content(f"a {CALL} ")]),
    (
        "broken call",
        "a <tool_call>{]</tool_call> b",
        {},
        [content("a <tool_call>{]</tool_call> b")],
    ),
    ("cut call", 'a <tool_call>{"name"', {}, [content('a <tool_call>{"name"')]),
    ("nameless", "<tool_call>{}</tool_call>", {}, [content("<tool_call>{}</tool_call>")]),
    (
        "parameters",
        '<tool_call>{"name": "f", "parameters": {"é": 2}}</tool_call>',
        {},
        [ToolCall("f", '{"é": 2}')],
    ),
    ("empty", "", {}, []),
    ("channels", f"{ANALYSIS}{FINAL} Yes\n<|return|>", {}, [reasoning("hm\n"), content(" Yes\n")]),
    ("channel alone", f"{FINAL}a <think>b</think>", {}, [content("a <think>b</think>")]),
    ("call on a channel", f'{ANALYSIS}{CALLING}{{"a": 1}}', {}, [reasoning("hm\n"), ADD]),
    ("call without arguments", CALLING, {}, [ToolCall("add", "{}")]),
    ("broken call on a channel", f'{CALLING}{{"a"', {}, [content('{"a"')]),
    ("channel without tools", f"{CALLING}{{}}", {"tools": False}, [content("{}")]),
    (
        "two messages on a channel",
        f"{FINAL}a<|end|><|start|>assistant{FINAL}b",
        {},
        [content("a\n\nb")],
    ),
    ("cut header", f"{ANALYSIS}<|channel|>fin", {}, [reasoning("hm\n")]),
    ("half a header", " <|chan", {}, [content(" <|chan")]),
]


def test_headers_and_the_analysis_are_reasoning_for_those_who_count():
    parser = OutputParser(thinking=False, calling=Calling())
    states = []
    for piece in ("<|channel|>", "analysis", "<|message|>", "a", "<|end|>", FINAL, "b"):
        parser.push(piece)
        states.append(parser.thinking)
    assert states == [True] * 5 + [False, False]


@pytest.mark.parametrize(
    ("text", "options", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_parts_of_a_text(text, options, parts):
    assert parse([text], **options) == parts
    assert parse(list(text), **options) == parts


@given(
    st.lists(
        st.sampled_from(
            [
                *("<think>", "</think>", "<tool_call>", "</tool_call>", CALL, " ", "\n", "x", "<"),
                *(ANALYSIS, FINAL, CALLING, "<|end|>", "{}"),
            ]
        )
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.booleans(),
)
def test_how_a_text_is_cut_changes_nothing(words, random, thinking, tools):
    text = "".join(words)
    pieces = cut_anywhere(text, random)
    options = {"thinking": thinking, "tools": tools}
    assert parse(pieces, **options) == parse([text], **options)


def test_a_lone_surrogate_of_a_call_stays_escaped():
    assert parse_call('{"name": "f", "arguments": {"a": "\\ud800"}}') == ("f", '{"a": "\\ud800"}')
    assert parse_call('{"name": "\\ud800"}') is None
    assert parse_call('{"name": "f", "arguments": "\\ud800"}') is None
