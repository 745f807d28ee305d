"""Messages on channels are told apart, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerostall.text.harmony import HarmonyReader, is_harmony, turn

ANSWER = (
    "<|channel|>analysis<|message|>2 < 3,\nso yes<|end|>"
    "<|start|>assistant<|channel|>commentary<|message|>Looking.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.find <|constrain|>json<|message|>"
    '{"a": "<|"}<|call|>'
)
MESSAGES = [
    ("analysis", "", "2 < 3,\nso yes"),
    ("commentary", "", "Looking."),
    ("commentary", "functions.find", '{"a": "<|"}'),
]


def messages(pieces):
    reader = HarmonyReader()
    found = {}
    for said in [said for piece in pieces for said in reader.push(piece)] + reader.finish():
        channel, recipient, text = found.get(said.message, (said.channel, said.recipient, ""))
        assert (channel, recipient) == (said.channel, said.recipient)
        found[said.message] = (channel, recipient, text + said.text)
    assert list(found) == list(range(len(found)))
    return list(found.values())


def test_a_header_names_the_channel_and_the_recipient():
    assert messages([ANSWER]) == MESSAGES
    assert messages(list(ANSWER)) == MESSAGES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|channel|>final<|message|>Hi", [("final", "", "Hi")]),
        ("<|channel|>final<|message|>a <|e", [("final", "", "a <|e")]),
        ("<|channel|>final<|message|>a <|endoftext|> b", [("final", "", "a <|endoftext|> b")]),
        ("<|channel|>final<|message|>", [("final", "", "")]),
        ("<|channel|>final<|message|>a<|return|>", [("final", "", "a")]),
        ("<|channel|>final<|mess", []),
        (
            "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}",
            [("commentary", "functions.f", "{}")],
        ),
        # A closing that the model forgot.
        (
            "<|channel|>analysis<|message|>a<|channel|>final<|message|>b",
            [("analysis", "", "a"), ("final", "", "b")],
        ),
        ("<|start|>assistant<|message|>a", [("final", "", "a")]),
        ("<|channel|> to=x <|message|>a", [("final", "x", "a")]),
    ],
)
def test_what_is_no_whole_message_is_read_as_far_as_it_goes(text, expected):
    assert messages([text]) == messages(list(text)) == expected


TAGS = ["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|call|>", "<|return|>"]


@given(st.lists(st.sampled_from([*TAGS, "final", "analysis", " to=functions.f", "<|", "x", "\n"])))
def test_the_cuts_change_no_message(pieces):
    text = "".join(pieces)
    assert messages(pieces) == messages([text]) == messages(list(text))


def test_a_text_without_a_header_is_no_harmony():
    assert is_harmony(ANSWER)
    assert not is_harmony("Hello <|channel|>")


def test_a_turn_gives_back_what_was_thought_and_what_was_said():
    end = "<|start|>assistant<|channel|>final<|message|>Yes."
    said = turn(ANSWER.rpartition("<|start|>")[0] + end)
    assert said == {"content": "Looking.\n\nYes.", "thinking": "2 < 3,\nso yes"}
    assert turn("<|channel|>final<|message|>Hi<|return|>") == {"content": "Hi"}
