"""Streaming text: characters and stop strings that span tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.text import metadata
from zerostall.text import Detokenizer, Tokenizer

BPE = Tokenizer.from_gguf(metadata.bpe())
SPM = Tokenizer.from_gguf(metadata.spm())


def letters(text):
    """One token for each byte."""
    return [SPM.id_of(f"<0x{value:02X}>") for value in text.encode()]


def run(ids, stop=(), **options):
    detokenizer = Detokenizer(SPM, stop, **options)
    pieces = [detokenizer.push(id) for id in ids]
    return pieces, detokenizer.finish(), detokenizer


def test_a_character_comes_out_when_its_last_byte_is_there():
    pieces, rest, _ = run(letters("é🚀x"))
    assert pieces == ["", "é", "", "", "", "🚀", "x"]
    assert rest == ""


def test_a_broken_character_is_replaced_as_soon_as_it_is_certain():
    start, letter = letters("é")[0], letters("x")[0]
    pieces, rest, _ = run([start, letter, start])
    assert pieces == ["", "\ufffdx", ""]
    assert rest == "\ufffd"


def test_a_continuation_keeps_its_leading_space_unless_told_otherwise():
    hello = SPM.id_of("▁hello")
    assert run([hello])[0] == [" hello"]
    assert run([hello, hello], strip_space=True)[0] == ["hello", " hello"]


def test_control_tokens_are_silent_unless_asked_for():
    assert run([1, SPM.id_of("hello"), 2])[0] == ["", "hello", ""]
    assert run([1, SPM.id_of("hello"), 2], skip_special=False)[0] == ["<s>", "hello", "</s>"]


def test_a_stop_string_that_spans_tokens_ends_the_text_before_it():
    pieces, rest, detokenizer = run(letters("ab##cd"), ["##"])
    assert pieces == ["a", "b", "", "", "", ""]
    assert (rest, detokenizer.stopped, detokenizer.stop_string) == ("", True, "##")


def test_text_that_only_begins_like_a_stop_string_comes_out_late():
    pieces, rest, detokenizer = run(letters("a#b#"), ["##"])
    assert pieces == ["a", "", "#b", ""]
    assert (rest, detokenizer.stopped, detokenizer.stop_string) == ("#", False, None)


def test_a_stop_string_inside_one_token_cuts_it():
    pieces, _, detokenizer = run([SPM.id_of("▁hello"), SPM.id_of("▁w")], ["ll"])
    assert pieces == [" he", ""]
    assert detokenizer.stopped


def test_a_stop_string_may_contain_characters_of_many_bytes():
    pieces, _, detokenizer = run(letters("aé🚀b"), ["é🚀"])
    assert "".join(pieces) == "a"
    assert detokenizer.stopped


def test_the_stop_string_that_is_complete_first_counts():
    pieces, _, detokenizer = run(letters("xabcd"), ["abcd", "bc"])
    assert "".join(pieces) == "xa"
    assert detokenizer.stop_string == "bc"


def test_an_empty_stop_string_is_none():
    assert "".join(run(letters("ab"), [""])[0]) == "ab"


def test_pushing_costs_the_same_after_a_long_text():
    detokenizer = Detokenizer(BPE, ["hellohello!"])
    hello = BPE.id_of("hello")
    for _ in range(20_000):
        detokenizer.push(hello)
    assert detokenizer.finish() == "hellohello"


def cut(text, stops):
    """The text before the stop string that is complete first, by its definition."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


WORDS = st.lists(st.text("ab#é", min_size=1, max_size=4), max_size=12)
STOPS = st.lists(st.text("ab#é", min_size=1, max_size=4), max_size=3)


class Words:
    """A tokenizer whose tokens are given words."""

    def __init__(self, words):
        self.words = words

    def token_bytes(self, id, show_special):
        return self.words[id]


@given(WORDS, STOPS)
def test_the_result_does_not_depend_on_how_the_text_was_cut_into_tokens(words, stops):
    detokenizer = Detokenizer(Words([word.encode() for word in words]), stops)
    text = "".join(detokenizer.push(id) for id in range(len(words))) + detokenizer.finish()
    assert text == cut("".join(words), stops)


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=10))
def test_any_bytes_come_out_as_python_decodes_them_whole(parts):
    detokenizer = Detokenizer(Words(parts))
    text = "".join(detokenizer.push(id) for id in range(len(parts))) + detokenizer.finish()
    assert text == b"".join(parts).decode("utf-8", "replace")


def test_a_control_token_appears_if_it_is_shown_and_the_others_stay_hidden():
    hello, end = SPM.id_of("▁hello"), SPM.id_of("</s>")
    pieces, _, _ = run([SPM.id_of("<s>"), hello, end], shown=[end])
    assert pieces == ["", " hello", "</s>"]
    pieces, _, stopped = run([hello, end, hello], stop=["</s>"], shown=[end])
    assert (pieces, stopped.stop_string) == ([" hello", "", ""], "</s>")
